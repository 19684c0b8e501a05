#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The rules of CODING-STYLE.md that a machine can see. Prints TAP; each offence as file:line.

style.py [ROOT] [NAME…]     every check, or those named
"""
import os
import re
import shutil
import statistics
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
CODE = ("src", "keeper", "tools", "include", "bench", "tests")
COLUMNS = 90
FUNCTION_LINES = 80  # none longer
NINE_IN_TEN = 40  # lines
MEDIAN = 14  # lines
FILE_LINES = 1000
NESTING = 3
VAGUE = {"common.h", "common.c", "internal.h", "misc.c", "misc.h", "util.c", "utils.c", "utils.h"}


class Skip(Exception):
    """This check cannot be made here."""


class File:
    """A source file, its lines, its functions."""

    def __init__(self, root, path):
        self.path = path
        with open(os.path.join(root, path), encoding="utf-8") as f:
            self.lines = f.read().split("\n")

    def functions(self):
        """(name, first line, last line), counted from 1, of every function with a body.

        The format makes this simple: a body begins with a brace alone in column 0.
        """
        for i, line in enumerate(self.lines):
            if line != "{" or i == 0 or self.lines[i - 1].rstrip().endswith(("=", ",", ";")):
                continue
            begin = i
            while begin > 0 and self.lines[begin - 1] and not re.match(r"^[}#/ ]|.*\*/$", self.lines[begin - 1]):
                begin -= 1
            head = " ".join(self.lines[begin:i])
            name = re.findall(r"(\w+)\s*\((?!\()", re.sub(r"__attribute__\s*\(\(.*?\)\)+|TS_\w+\([^)]*\)", "", head))
            end = next((j for j in range(i, len(self.lines)) if self.lines[j] == "}"), i)
            yield (name[0] if name else "?", begin + 1, end + 1)


def list_files(root, folders, suffixes):
    for folder in folders:
        for where, dirs, names in os.walk(os.path.join(root, folder)):
            dirs[:] = sorted(d for d in dirs if not d.startswith((".", "build", "__")))
            for name in sorted(names):
                if name.endswith(suffixes):
                    yield os.path.relpath(os.path.join(where, name), root)


def c_files(root):
    return [File(root, p) for p in list_files(root, CODE, (".c", ".h"))]


# --- the checks: each yields offences ------------------------------------------------------


def read_layers():
    layers = {}
    with open(os.path.join(HERE, "layers"), encoding="utf-8") as f:
        for line in f:
            words = line.split("#")[0].split()
            if words:
                layers[words[0]] = words[1:]
    return layers


def resolve(root, path, name):
    """The included file's path from the root, as the compiler would find it."""
    for base in (os.path.dirname(path), "src", "include", ""):
        if os.path.exists(os.path.join(root, base, name)):
            found = os.path.normpath(os.path.join(base, name))
            return os.path.basename(found) if found.startswith("include/") else found
    return name


def may_include(layers, room, target):
    if os.path.dirname(target) == room:
        return True
    return target in layers[room] or os.path.dirname(target) in layers[room]


def check_layers(root, files):
    layers = read_layers()
    for f in files:
        room = os.path.dirname(f.path)
        if f.path.startswith("tests"):
            continue
        if room not in layers:
            yield f"{f.path}:1: the folder {room} is not in tests/style/layers"
            continue
        for n, line in enumerate(f.lines, 1):
            found = re.match(r'\s*#\s*include\s+"([^"]+)"', line)
            if not found or found[1].endswith(".inc"):
                continue
            target = resolve(root, f.path, found[1])
            if not may_include(layers, room, target):
                yield f"{f.path}:{n}: {room} may not include {target}"


def check_format(root, files):
    tool = shutil.which("clang-format-14") or shutil.which("clang-format")
    if not tool:
        raise Skip("no clang-format-14")
    if " 14." not in subprocess.run([tool, "--version"], capture_output=True, text=True).stdout:
        raise Skip(f"{tool} is not version 14, and others format otherwise")
    paths = [f.path for f in files]
    run = subprocess.run([tool, "--dry-run", "--fallback-style=none", *paths], cwd=root,
                         capture_output=True, text=True)
    seen = set()
    for found in re.finditer(r"^(.*?:\d+):\d+: \w+: code should be clang-formatted", run.stderr, re.M):
        if found[1] not in seen:
            seen.add(found[1])
            yield f"{found[1]}: clang-format -i {found[1].split(':')[0]}"


def check_columns(root, files):
    for f in files:
        for n, line in enumerate(f.lines, 1):
            width = len(line.expandtabs(8))
            if width > COLUMNS:
                yield f"{f.path}:{n}: {width} columns, more than {COLUMNS}"


def check_functions(root, files):
    lengths = []
    for f in files:
        for name, begin, end in f.functions():
            lengths.append(end - begin + 1)
            if end - begin + 1 > FUNCTION_LINES:
                yield f"{f.path}:{begin}: {name} has {end - begin + 1} lines, more than {FUNCTION_LINES}"
    lengths.sort()
    middle, nine = statistics.median(lengths), lengths[len(lengths) * 9 // 10]
    print(f"# {len(lengths)} functions: median {middle:g} lines, nine in ten {nine}, longest {lengths[-1]}")
    if middle > MEDIAN:
        yield f"all files:0: functions have a median of {middle:g} lines, more than {MEDIAN}"
    if nine > NINE_IN_TEN:
        yield f"all files:0: one function in ten has more than {nine} lines, {NINE_IN_TEN} are allowed"


def check_files(root, files):
    for f in files:
        if len(f.lines) > FILE_LINES:
            yield f"{f.path}:{FILE_LINES}: {len(f.lines)} lines: split it"
        if os.path.basename(f.path) in VAGUE:
            yield f"{f.path}:1: a name that says nothing"


def check_nesting(root, files):
    deep = re.compile(r"^\t{%d,}(if|for|while|do|switch)\b" % (NESTING + 1))
    for f in files:
        for name, begin, end in f.functions():
            for n in range(begin, end):
                if deep.match(f.lines[n]):
                    yield f"{f.path}:{n + 1}: {name} nests more than {NESTING} deep"


def check_ifdef(root, files):
    for f in files:
        for name, begin, end in f.functions():
            for n in range(begin, end):
                if re.match(r"\s*#\s*if", f.lines[n]):
                    yield f"{f.path}:{n + 1}: #if inside {name}: choose files in the build instead"


def check_spdx(root, files):
    paths = [f.path for f in files]
    paths += list_files(root, ("scripts", "tests", "src", ".ci"), (".py", ".sh", ".bash"))
    paths += [p for p in list_files(root, ("scripts", ".ci"), ("",)) if "." not in os.path.basename(p)]
    for path in sorted(set(paths)):
        with open(os.path.join(root, path), encoding="utf-8") as f:
            head = f.readline() + f.readline()
        if "SPDX-License-Identifier: MIT" not in head:
            yield f"{path}:1: no SPDX-License-Identifier: MIT"


def check_ptrace(root, files):
    """Only the keeper calls ptrace; tests and benchmarks that compare with it may."""
    for f in files:
        if f.path.startswith(("keeper/", "tests/", "bench/")):
            continue
        for n, line in enumerate(f.lines, 1):
            if re.search(r"\bptrace\s*\(|\bSYS_ptrace\b", re.sub(r'/\*.*|^\s*\*.*|"[^"]*"', "", line)):
                yield f"{f.path}:{n}: ptrace outside of keeper/"


def check_theory(root, files):
    """A .c file opens, after its licence, with a comment that says what it is for."""
    for f in files:
        if not f.path.startswith(("src/", "keeper/")) or not f.path.endswith(".c"):
            continue
        if not (len(f.lines) > 1 and f.lines[1].startswith("/*")):
            yield f"{f.path}:2: no opening comment"


CHECKS = {
    "layers": check_layers,
    "format": check_format,
    "columns": check_columns,
    "functions": check_functions,
    "files": check_files,
    "nesting": check_nesting,
    "ifdef": check_ifdef,
    "spdx": check_spdx,
    "ptrace": check_ptrace,
    "theory": check_theory,
}


def main(root, names):
    files, bad = c_files(root), 0
    chosen = names or list(CHECKS)
    print(f"1..{len(chosen)}")
    for number, name in enumerate(chosen, 1):
        try:
            offences = list(CHECKS[name](root, files))
        except Skip as why:
            print(f"ok {number} - {name} # SKIP {why}")
            continue
        bad += bool(offences)
        print(f"{'not ok' if offences else 'ok'} {number} - {name}")
        for offence in offences:
            print(f"# {offence}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else os.path.join(HERE, "../.."), sys.argv[2:]))
