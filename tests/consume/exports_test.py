#!/usr/bin/python3
"""What the installed headers declare is what libivmq.so exports: all of it, and nothing else.

$IVMQ_PREFIX: where the library is installed.
"""
import os
import pathlib
import re
import subprocess
import sys

PREFIX = pathlib.Path(os.environ["IVMQ_PREFIX"])
CLASS = re.compile(r"^(?:class|struct)\s+(?:\[\[\w+\]\]\s*)?(?:IVMQ_EXPORT\s+)?(\w+)[^;{]*\{", re.M)
FUNCTION = re.compile(r"^(?:IVMQ_EXPORT\s+)?[\w:]+[\w:<>,&* ]*?\b(\w+)\(.*?;", re.M | re.S)
# In a header that others need, but not for programs.
PRIVATE = {"Consumer", "Producer", "RingView"}
NAMESPACES = {"ivmq", "rpc", "grpc", "internal", "experimental", "reflection"}


def symbols(library, *options):
    """Names of the functions and objects that the library defines, without parameters."""
    listing = subprocess.run(["nm", "-C", "--defined-only", *options, library], check=True,
                             stdout=subprocess.PIPE, text=True).stdout
    names = (line.split(" ", 2) for line in listing.splitlines() if re.match(r"[0-9a-f]+ \w ", line))
    return {re.sub(r"\[abi:\w+\]|@.*|(?<!operator)\(.*", "", name)
            for _, kind, name in names if kind in "TDBR"}


def main():
    declared = set()
    for header in (PREFIX / "include").rglob("*.h"):
        text = header.read_text(encoding="utf-8")
        declared |= set(CLASS.findall(text)) | set(FUNCTION.findall(text))

    declared -= PRIVATE

    def is_declared(symbol):
        names = re.sub(r"^(vtable|typeinfo|typeinfo name|VTT) for ", "", symbol).split("::")
        inner = [name for name in names if name not in NAMESPACES]
        return (names[0] == "ivmq" and inner[0] in declared and
                not {"Impl", "(anonymous namespace)"} & set(inner))

    exported = symbols(PREFIX / "lib/libivmq.so", "-D")
    missing = {s for s in symbols(PREFIX / "lib/libivmq.a") if is_declared(s)} - exported
    private = {s for s in exported if not is_declared(s)}
    for symbol in sorted(missing):
        print(f"{symbol}: a header declares it without IVMQ_EXPORT.")
    for symbol in sorted(private):
        print(f"{symbol}: is exported, and no header declares it.")
    sys.exit(bool(missing or private) or not exported)


main()
