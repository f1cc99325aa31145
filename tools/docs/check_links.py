#!/usr/bin/python3
"""check_links.py FOLDER: finds what is broken in a folder of HTML, and says where.

A link to a file or a part of a page that is not there; a page that no link leads to; something that
is loaded from elsewhere, so that the site would not work without a network.
"""
import html.parser
import os
import re
import sys
import urllib.parse

# What a browser loads by itself; another site's page may be linked to.
LOADED = {"img": "src", "script": "src", "iframe": "src", "link": "href", "source": "src"}
IN_MENU = re.compile(r"\burl:\"([^\"]+)\"")  # of Doxygen, which a script makes
IN_STYLE = re.compile(r"(?:url\(\s*|@import\s+)[\"']?([^\"')\s]+)")


class Page(html.parser.HTMLParser):
    def __init__(self, path):
        super().__init__()
        self.links, self.loads, self.parts = [], [], {"", "top"}
        with open(path, encoding="utf-8") as file:
            self.feed(file.read())

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.parts.update(attrs[name] for name in ("id", "name") if attrs.get(name))
        if tag in ("a", "area") and attrs.get("href"):
            self.links.append(attrs["href"])
        elif attrs.get(LOADED.get(tag)):
            self.loads.append(attrs[LOADED[tag]])


def main(top):
    pages, problems, linked = {}, [], set()
    files = [os.path.join(d, n) for d, _, names in os.walk(top) for n in names]
    for path in files:
        if path.endswith(".html"):
            pages[path] = Page(path)

    def check(path, link, is_loaded):
        url = urllib.parse.urlsplit(link)
        if url.scheme in ("javascript", "data"):
            return
        if url.scheme or url.netloc:
            if is_loaded or url.scheme not in ("http", "https", "mailto"):
                problems.append(f"{path}: {link} is not in the site")
            return
        target = path
        if url.path:
            target = os.path.normpath(os.path.join(os.path.dirname(path), urllib.parse.unquote(url.path)))
        if not os.path.isfile(target):
            problems.append(f"{path}: there is no {link}")
            return
        if target != path:
            linked.add(target)
        if target in pages and urllib.parse.unquote(url.fragment) not in pages[target].parts:
            problems.append(f"{path}: {link}: the page has no such part")

    for path, page in pages.items():
        for link in page.links:
            check(path, link, False)
        for link in page.loads:
            check(path, link, True)
    for path in files:
        links = IN_STYLE if path.endswith(".css") else IN_MENU if path.endswith("menudata.js") else None
        if links is not None:
            with open(path, encoding="utf-8") as file:
                for link in links.findall(file.read()):
                    check(path, link, links is IN_STYLE)
    for path in pages:
        if path not in linked and os.sep + "search" + os.sep not in path:
            problems.append(f"{path}: no page links to it")
    for problem in sorted(problems):
        print(problem, file=sys.stderr)
    print(f"{len(pages)} pages, {len(problems)} problems")
    return 1 if problems or not pages else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
