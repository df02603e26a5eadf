"""What `make install` installs is enough for a C or C++ programmer: header, libraries, pkg-config."""
import pathlib
import re
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


def sh(*command, **options):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, **options)
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    root = tmp_path_factory.mktemp("root")
    sh("make", "-C", ROOT, "install", f"DESTDIR={root}", "PREFIX=/usr")
    return root


@pytest.fixture(scope="module")
def plan(tmp_path_factory, installed):
    folder = tmp_path_factory.mktemp("plan")
    shutil.copy(ROOT / "tests/corpus/onnx/conv", folder / "m.onnx")
    sh(installed / "usr/bin/culmen", "compile", folder / "m.onnx", "-o", folder / "m.plan")
    return folder / "m.plan"


def flags(installed, *what):
    environment = {"PKG_CONFIG_PATH": f"{installed}/usr/lib/pkgconfig", "PKG_CONFIG_SYSROOT_DIR": str(installed), "PATH": "/usr/bin:/bin"}
    return sh("pkg-config", *what, "culmen", env=environment).split()


@pytest.mark.parametrize("compiler", [["cc", "-std=c99", "-pedantic"], ["c++", "-x", "c++", "-std=c++11", "-fpermissive", "-w"]])
def test_example_runs_with_the_shared_library(installed, plan, tmp_path, compiler):
    program = tmp_path / "run_plan"
    sh(*compiler, ROOT / "examples/run_plan.c", "-o", program, *flags(installed, "--cflags", "--libs"))
    out = sh(program, plan, env={"LD_LIBRARY_PATH": f"{installed}/usr/lib"})
    assert out.startswith("y: f32 [1,10] ")


def test_example_runs_with_the_static_library(installed, plan, tmp_path):
    program = tmp_path / "run_plan"
    sh("cc", ROOT / "examples/run_plan.c", "-o", program, *flags(installed, "--cflags"),
       installed / "usr/lib/libculmen.a", "-lm", "-pthread")
    assert sh(program, plan).startswith("y: f32 [1,10] ")


def test_example_says_what_is_wrong(installed, tmp_path):
    program = tmp_path / "run_plan"
    sh("cc", ROOT / "examples/run_plan.c", "-o", program, *flags(installed, "--cflags"),
       installed / "usr/lib/libculmen.a", "-lm", "-pthread")
    (tmp_path / "bad.plan").write_bytes(b"CULMENPL" + bytes(100))
    done = subprocess.run([program, tmp_path / "bad.plan"], capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.startswith("FAILED_PRECONDITION: ")


def test_library_shows_its_own_names_only(installed):
    names = sh("nm", "-D", "--defined-only", installed / "usr/lib/libculmen.so").split()[2::3]
    assert names and all(n.startswith("culmen_") for n in names)
    static = sh("nm", "-g", "--defined-only", installed / "usr/lib/libculmen.a").splitlines()
    assert all(line.split()[2].startswith("culmen_") for line in static if len(line.split()) == 3)


def test_header_is_plain_c_and_cpp(installed):
    header = installed / "usr/include/culmen/plan.h"
    sh("cc", "-std=c99", "-pedantic-errors", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", "-x", "c", header)
    sh("c++", "-std=c++11", "-pedantic-errors", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", "-x", "c++", header)


def test_installs_a_man_page_for_each_subcommand(installed):
    if not shutil.which("scdoc"):
        pytest.skip("scdoc is not installed")
    pages = installed / "usr/share/man/man1"
    assert "\n.SH SUBCOMMANDS\n" in (pages / "culmen.1").read_text()
    culmen = installed / "usr/bin/culmen"
    rows = [line.split() for line in sh(culmen, "help").splitlines() if line.startswith("  ")]
    for name in [row[0] for row in rows if row[0] != "help"]:
        text = (pages / f"culmen-{name}.1").read_text().replace("\\-", "-")
        for option in re.findall(r"^ .*?(--[a-z-]+)", sh(culmen, "help", name), re.MULTILINE):
            assert option in text, f"culmen-{name}.1 lacks {option}"


def test_completion_knows_subcommands_options_values_and_files(installed, tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"")
    script = f"""
        PATH={installed}/usr/bin:$PATH
        . {installed}/usr/share/bash-completion/completions/culmen
        try() {{ COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _culmen 2>/dev/null; echo "${{COMPREPLY[*]}}"; }}
        try culmen com
        try culmen help insp
        try culmen compile --pre
        try culmen compile --precision =
        try culmen compile --output = mod
        try culmen run mod
    """
    done = sh("bash", "-c", script, cwd=tmp_path).split("\n")
    assert done[:6] == ["compile", "inspect", "--precision=", "fp32 bf16", "model.onnx", "model.onnx"]
