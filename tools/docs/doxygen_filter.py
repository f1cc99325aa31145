#!/usr/bin/python3
"""Prints a header with its comments as Doxygen reads them.

The headers have plain comments: before what they are about, or behind it on the same line. Doxygen
wants marks at them, and takes much of plain text for markup. What is private, and friends, are left
out: Doxygen links to some of them, and shows none.
"""
import re
import sys

SCOPE = re.compile(r"\b(class|struct|union|enum|namespace)\b")
HEADING = re.compile(r"// -{3,} (.+?) -{3,}$")
LITERAL = re.compile(r'"(?:\\.|[^"\\])*"|\'(?:\\.|[^\'\\])\'')


def escape(text):
    """Outside of `code`, only commands (@param) mean something to Doxygen."""
    parts = text.split("`")
    for i in range(0, len(parts), 2):
        parts[i] = re.sub(r"([<>#&%])", r"\\\1", parts[i])
    return "`".join(parts)


def marked(lines, mark):
    """A comment's lines with `mark` in front; three blanks or more begin code or a table."""
    out, code = [], False
    for i, line in enumerate(lines):
        is_code = line.startswith("   ") or (code and not line and lines[i + 1:i + 2] and
                                             lines[i + 1].startswith("   "))
        if is_code and not code:
            rest = "\n".join(lines[i:])
            out.append(f"{mark} @code{'{.cpp}' if re.search(r'[;{]$', rest, re.M) else '{.unparsed}'}")
        if code and not is_code:
            out.append(f"{mark} @endcode")
        code = is_code
        out.append(mark + (line if is_code else escape(line)))
    if code:
        out.append(f"{mark} @endcode")
    return out


def split_comment(line):
    """The code of a line, and what follows `//` in it, or None."""
    at = LITERAL.sub(lambda m: "_" * len(m.group()), line).find("//")
    return (line, None) if at < 0 else (line[:at].rstrip(), line[at + 2:])


class Scopes:
    """The braces that are open: whether each belongs to a type or namespace, or to code."""

    def __init__(self):
        self.open, self.statement = [], ""

    def read(self, code):
        for c in LITERAL.sub("", code) + "\n":
            if c == "{":
                self.open.append(bool(SCOPE.search(self.statement)))
            elif c == "}" and self.open:
                self.open.pop()
            self.statement = "" if c in "{};" else self.statement + c

    def of_declarations(self):
        return all(self.open)


def public(lines):
    """The lines outside of private parts, which begin and end at a class's indentation."""
    hidden = None
    for line in lines:
        indent = len(line) - len(line.lstrip())
        if hidden is not None and line.strip() and indent <= hidden:
            hidden = None
        if re.match(r" *private:$", line):
            hidden = indent
        elif hidden is None and not re.match(r" *friend .*;$", line):
            yield line


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        lines = [re.sub(r"\s*// NOLINT.*", "", line) for line in file.read().splitlines()]
    lines = list(public(lines))
    scopes, group, i = Scopes(), None, 0
    while i < len(lines):
        code, comment = split_comment(lines[i])
        indent = len(lines[i]) - len(lines[i].lstrip())
        if comment is None or not scopes.of_declarations():
            if group is not None and re.match(r"\s*(protected:|};)", code) and indent < group:
                print("/// @}")
                group = None
            print(code)
            scopes.read(code)
            i += 1
            continue
        heading = HEADING.match(lines[i].strip())
        if heading and indent == 0:  # of a part of the file
            i += 1
            continue
        if heading:
            print("/// @}\n" if group is not None else "", end="")
            print(f"/// @name {escape(heading.group(1))}\n/// @{{")
            group = indent
            i += 1
            continue
        block, column = [comment], lines[i].index("//" + comment)
        while i + len(block) < len(lines):
            following = lines[i + len(block)]
            if not following.startswith(" " * column + "//") or HEADING.match(following.strip()):
                break
            block.append(following[column + 2:])
        i += len(block)
        if code:
            print(code)
            if not code.startswith(("}", "#")):
                print("\n".join(marked(block, "///<")))
            scopes.read(code)
        elif not scopes.open and i < len(lines) and lines[i].startswith("#ifndef"):
            print("/// @file")
            print("\n".join(marked(block, "///")))
        elif i < len(lines) and lines[i].strip():  # a comment that stands alone is about nothing
            print("\n".join(marked(block, "///")))


main()
