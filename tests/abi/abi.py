#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What a client links against: the names in the library are those in the headers, the headers stand
alone in every language, and a program built through pkg-config alone works. Prints TAP.

abi.py SOURCE BUILD
"""
import os
import re
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
HEADERS = ("libproc.h", "rtld_db.h", "dtrace.h", "dtprobe.h")
NODE = "PGRAB_0.1"
CC = os.environ.get("CC", "cc").split()
CXX = os.environ.get("CXX", "c++").split()
# The library never prints, never exits, never touches the host's signal handlers. What a created
# child does between fork and exec it does by bare system calls.
FORBIDDEN = {"printf", "puts", "putchar", "fputs", "fputc", "fprintf", "vfprintf", "perror", "psignal",
             "__printf_chk", "__fprintf_chk", "stdout", "stderr", "exit", "_exit", "quick_exit", "abort",
             "signal", "sigaction", "sigprocmask", "wait", "wait3", "wait4", "waitpid", "system", "popen",
             "ptrace", "setenv", "putenv", "chdir", "umask"}


class Skip(Exception):
    """This cannot be tested here."""


def run(*command, **more):
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, **more)


def read_symbols(library):
    """{name: version} of what the library defines."""
    out = run("nm", "-D", "--defined-only", library).stdout
    names = (line.split()[-1] for line in out.splitlines())
    pairs = (name.partition("@") for name in names if "@" in name)
    return {name: version.strip("@") for name, _, version in pairs}


def read_declared(source, header):
    """{name: line} of the functions and variables that the header declares."""
    with open(os.path.join(source, "include", header), encoding="utf-8") as f:
        text = f.read()
    text = re.sub(r"/\*.*?\*/", lambda m: "\n" * m[0].count("\n"), text, flags=re.S)
    text = re.sub(r"^\s*#(.*\\\n)*.*$", lambda m: "\n" * m[0].count("\n"), text, flags=re.M)
    text = text.replace('extern "C" {', "            ")
    names, depth, statement, line, begin = {}, 0, "", 1, 1
    for char in text:
        line += char == "\n"
        depth += (char == "{") - (char == "}")
        if not statement.strip():
            begin = line
        if depth <= 0 and char == ";":
            found = re.search(r"(\w+)\s*\(", re.sub(r"__attribute__\s*\(\(.*?\)\)", "", statement))
            if found and not re.match(r"\s*(typedef|static)\b", statement):
                names[found[1]] = begin
            statement = ""
        elif depth > 0 or char not in "{}":
            statement += char
        depth = max(depth, 0)
    return names


# --- the tests: each yields what is wrong ----------------------------------------------------


def test_declared_is_exported(source, build):
    have = read_symbols(f"{build}/src/libpgrab.so")
    for header in HEADERS:
        for name, line in read_declared(source, header).items():
            if name not in have:
                yield f"include/{header}:{line}: {name} is declared and not in the library"


def test_exported_is_declared(source, build):
    declared = {}
    for header in HEADERS:
        declared.update(read_declared(source, header))
    for name, version in read_symbols(f"{build}/src/libpgrab.so").items():
        if name != NODE and name not in declared:
            yield f"src/libpgrab.map:1: {name} is in the library and in no public header"
        if name != NODE and version != NODE:
            yield f"src/libpgrab.map:1: {name} has version {version or 'none'}, not {NODE}"


def test_soname(source, build):
    out = run("readelf", "-dW", f"{build}/src/libpgrab.so").stdout
    if "soname: [libpgrab.so.0]" not in out:
        yield "src/meson.build:1: the library's soname is not libpgrab.so.0"
    if "BIND_NOW" not in out and "NOW" not in out:
        yield "src/meson.build:1: the library is not linked with -z now"
    if "(TEXTREL)" in out:
        yield "src/meson.build:1: relocations in the text"
    out = run("readelf", "-dW", f"{build}/tools/pgrab").stdout
    if "[libpgrab.so.0]" not in out:
        yield "tools/meson.build:1: pgrab does not need libpgrab.so.0"


def test_quiet(source, build):
    out = run("nm", "-D", "--undefined-only", f"{build}/src/libpgrab.so").stdout
    for line in out.splitlines():
        name = line.split()[-1].partition("@")[0]
        if name in FORBIDDEN:
            yield f"src/meson.build:1: the library calls {name}"


def test_headers_alone(source, build):
    # siginfo_t is POSIX's, which strict C11 hides unless it is asked for.
    ways = [(CC, "c", std) for std in ("c11", "gnu17")] + [(CXX, "c++", std) for std in ("c++11", "c++17")]
    for compiler, language, std in ways:
        if not shutil.which(compiler[0]):
            raise Skip(f"no {compiler[0]}")
        for header in HEADERS:
            text = f"#include <{header}>\n#include <{header}>\n"
            got = run(*compiler, "-x", language, f"-std={std}", "-D_POSIX_C_SOURCE=200809L", "-Wall", "-Wextra", "-Wpedantic", "-Werror",
                      "-I", f"{source}/include", "-fsyntax-only", "-", input=text)
            for line in got.stderr.splitlines():
                if "error:" in line:
                    yield f"{os.path.relpath(line, source) if line.startswith('/') else line} ({language} {std})"


def find_file(folder, name):
    for where, _, names in os.walk(folder):
        if name in names:
            return os.path.join(where, name)
    return ""


def install(build, into):
    got = run("meson", "install", "-C", build, "--no-rebuild", "--quiet", "--destdir", into)
    if got.returncode:
        raise RuntimeError(f"meson install: {got.stdout} {got.stderr}")
    if not find_file(into, "pgrab.pc"):
        raise RuntimeError("no pgrab.pc was installed")
    return os.path.dirname(find_file(into, "pgrab.pc"))


def build_client(into, pc, how):
    env = dict(os.environ, PKG_CONFIG_PATH=pc, PKG_CONFIG_SYSROOT_DIR=into, PKG_CONFIG_ALLOW_SYSTEM_CFLAGS="1")
    flags = run("pkg-config", "--cflags", "--libs", *how, "pgrab", env=env)
    if flags.returncode:
        return f"pkg-config: {flags.stderr}"
    # Without the shared library beside it, -lpgrab is the static one.
    libs = flags.stdout.replace("-lpgrab", "-l:libpgrab.a").split() if how else flags.stdout.split()
    got = run(*CC, "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-o", f"{into}/client",
              f"{HERE}/client.c", *libs)
    return got.stderr


def run_client(into, pc, how):
    env = dict(os.environ, LD_LIBRARY_PATH=os.path.dirname(pc))
    env.pop("PGRAB_KEEPER", None)
    # The shared library knows its keeper by its own place. A static client knows the prefix only,
    # and the prefix is not where DESTDIR is.
    if how:
        env["PGRAB_KEEPER"] = find_file(into, "pgrab-keeper")
    got = run(f"{into}/client", cwd=into, env=env)
    if got.returncode or not re.search(r"^malloc 0x\w+\n", got.stdout, re.M) or "status 2" not in got.stdout:
        yield f"{HERE}/client.c:1: ended with {got.returncode}: {got.stdout} {got.stderr}"


def test_client(source, build, how=()):
    if not shutil.which("pkg-config"):
        raise Skip("no pkg-config")
    with tempfile.TemporaryDirectory(prefix="pgrab-abi.") as into:
        pc = install(build, into)
        for header in HEADERS:
            if not find_file(into, header):
                yield f"include/meson.build:1: {header} is not installed"
        wrong = build_client(into, pc, how)
        if wrong:
            yield f"{HERE}/client.c:1: {wrong}"
        else:
            yield from run_client(into, pc, how)


def test_static_client(source, build):
    yield from test_client(source, build, ("--static",))


TESTS = [test_declared_is_exported, test_exported_is_declared, test_soname, test_quiet, test_headers_alone,
         test_client, test_static_client]


def main(source, build):
    bad = 0
    print(f"1..{len(TESTS)}")
    for number, test in enumerate(TESTS, 1):
        name = test.__name__.replace("test_", "", 1)
        try:
            wrong = list(test(source, build))
        except Skip as why:
            print(f"ok {number} - {name} # SKIP {why}")
            continue
        except Exception as error:  # a broken test is a failed one, and the others still run
            wrong = [f"{type(error).__name__}: {error}"]
        bad += bool(wrong)
        print(f"{'not ok' if wrong else 'ok'} {number} - {name}")
        for text in wrong:
            print("# " + text.strip().replace("\n", "\n# "))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
