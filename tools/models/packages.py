"""Packages of PyPI, downloaded once, read without installing them."""
import glob
import os
import subprocess
import sys
import tempfile
import zipfile


class FetchError(Exception):
    """One line for the person who ran the command."""


def wheel(cache, name, version):
    """The path of a wheel in `cache`; pip downloads it when it is not there."""
    stem = f'{name.replace("-", "_")}-{version}'
    os.makedirs(cache, exist_ok=True)
    found = glob.glob(os.path.join(cache, glob.escape(stem) + "*.whl"))
    if found:
        return found[0]
    with tempfile.TemporaryDirectory(dir=cache) as fresh:
        # Data-only packages state Python ranges that do not matter to a reader of their files.
        command = [sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check", "--no-deps",
                   "--ignore-requires-python", "--only-binary=:all:", "-d", fresh, f"{name}=={version}"]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        found = glob.glob(os.path.join(fresh, "*.whl"))
        if done.returncode or not found:
            tail = [line for line in done.stdout.splitlines() if line.strip()][-1:] or ["no output"]
            hint = "install python3-pip" if "No module named pip" in done.stdout else \
                f"is a package index within reach? Otherwise put the wheel of {name} {version} into {cache}"
            raise FetchError(f"pip could not download {name} {version}: {tail[0][:300]}; {hint}")
        kept = os.path.join(cache, os.path.basename(found[0]))
        os.replace(found[0], kept)
    return kept


def read(cache, name, version, path):
    """The bytes of one file of a wheel."""
    archive = wheel(cache, name, version)
    try:
        with zipfile.ZipFile(archive) as z:
            return z.read(path)
    except (KeyError, zipfile.BadZipFile):
        os.unlink(archive)
        raise FetchError(f"{os.path.basename(archive)} is damaged or has no file {path}; run again") from None
