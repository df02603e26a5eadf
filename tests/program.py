"""The program under test. Not in conftest.py, of which a run that collects several folders has several."""
import os
import pathlib

ROOT = pathlib.Path(__file__).resolve().parents[1]
CULMEN = pathlib.Path(os.environ.get("CULMEN", ROOT / "build/release/culmen"))
