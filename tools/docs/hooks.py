"""What mkdocs does not do by itself: pages from outside of docs/, the API reference, search in files.

In the repository links are those of its files, so that they work where the text is read as it is.
In the site docs/ is the top, and what is outside of it keeps its path.
"""
import json
import os
import posixpath
import re

from mkdocs.structure.files import File

LINK = re.compile(r"\]\(([^)\s#:]+)(#[^)\s]*)?\)")
API = "build/docs/api"


def on_files(files, config):
    def add(path, folder):
        files.append(File(path, folder, config["site_dir"], config["use_directory_urls"]))

    top = os.path.dirname(config["config_file_path"])
    for path in config["extra"]["repository_files"]:
        add(path, top)
    for folder, _, names in os.walk(os.path.join(top, API)):
        for name in names:
            if name == "index.html":  # empty: the site's api.html stands for it
                continue
            path = os.path.relpath(os.path.join(folder, name), os.path.join(top, os.path.dirname(API)))
            add(path, os.path.join(top, os.path.dirname(API)))
    return files


def on_page_markdown(markdown, page, config, files):
    """Links to files of the repository become those of the site; blocks lose what is not for readers."""
    in_site = page.file.src_uri
    in_repository = in_site if in_site in config["extra"]["repository_files"] else f"docs/{in_site}"

    def target(match):
        path = posixpath.normpath(posixpath.join(posixpath.dirname(in_repository), match.group(1)))
        path = path[len("docs/"):] if path.startswith("docs/") else path
        if files.get_file_from_path(path) is None:
            return match.group()  # mkdocs says so, unless it is code
        path = posixpath.relpath(path, posixpath.dirname(in_site) or ".")
        return f"]({path}{match.group(2) or ''})"

    markdown = LINK.sub(target, markdown)
    return re.sub(r"^(```\w+) (?:run|prints)$", r"\1", markdown, flags=re.M)


def on_post_build(config):
    """A browser gives a page from a file neither the search index nor a worker: both in one script.

    tools/docs/theme/main.html loads it.
    """
    site = config["site_dir"]
    for of_a_server in ("404.html", "sitemap.xml", "sitemap.xml.gz"):  # with links from its top
        os.remove(os.path.join(site, of_a_server))
    workers = os.path.join(site, "assets/javascripts/workers")
    worker, = (n for n in os.listdir(workers) if n.startswith("search.") and n.endswith(".js"))
    with open(os.path.join(workers, worker), encoding="utf-8") as file:
        worker = file.read()
    with open(os.path.join(site, "search/search_index.json"), encoding="utf-8") as file:
        index = file.read()
    with open(os.path.join(site, "search/from_files.js"), "w", encoding="utf-8") as file:
        file.write(f"var __search = {{\n  index: Promise.resolve({index}),\n"
                   f"  worker: URL.createObjectURL(new Blob([{json.dumps(worker)}]))\n}};\n")
