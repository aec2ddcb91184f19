"""One small training whose curves are kept: what they show now, every later version of the program must show."""
