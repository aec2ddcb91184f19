"""What a training step costs, counted without running it: parameters, operations, memory."""
