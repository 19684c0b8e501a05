#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Functions and instructions of a file by readelf and objdump, beside those that pgrab tells. Prints
what differs, one line for each.

probes_oracle.py PGRAB FILE
"""
import json
import re
import subprocess
import sys

LEFT_OUT = re.compile(r"^(_init|_fini)$|.\.cold(\.\d+)?$")


def run(*command):
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout.splitlines()


def read_functions(path):
    """{address: {size of each symbol there}}"""
    found, choosers = {}, set()
    for table in ("-s", "--dyn-syms"):
        for line in run("readelf", "-W", table, path):
            field = line.split()
            if len(field) > 7 and field[3] == "IFUNC":
                choosers.add(int(field[1], 16))
            if len(field) < 8 or field[3] != "FUNC" or field[6] in ("UND", "ABS") or LEFT_OUT.search(field[7]):
                continue
            if int(field[2], 0):
                found.setdefault(int(field[1], 16), set()).add(int(field[2], 0))
    return {address: sizes for address, sizes in found.items() if address not in choosers}


def read_instructions(path):
    """{address: mnemonic and operands}"""
    found = {}
    for line in run("objdump", "-d", "--no-show-raw-insn", path):
        match = re.match(r"\s*([0-9a-f]+):\s+(\S.*)", line)
        if match:
            found[int(match[1], 16)] = match[2]
    return found


def read_probes(pgrab, path, description):
    for line in run(pgrab, "probes", "--json", path, description):
        probe = json.loads(line)
        yield probe["function"], int(probe["address"], 16)


def main():
    pgrab, path = sys.argv[1:]
    functions, entries = read_functions(path), {address for _, address in read_probes(pgrab, path, "a.out::entry")}
    for address in sorted(entries ^ set(functions)):
        print(f"{address:#x}: is {'not ' if address in functions else ''}told as a function")
    instructions, told = read_instructions(path), {a for _, a in read_probes(pgrab, path, "a.out:*:[0-9a-f]*")}
    inside = set()
    for address, sizes in functions.items():
        inside.update(range(address, address + min(sizes)))
    for address in sorted(told ^ (instructions.keys() & inside)):
        print(f"{address:#x}: {instructions.get(address, 'no instruction')}")


main()
