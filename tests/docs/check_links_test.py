#!/usr/bin/python3
"""What tools/docs/check_links.py finds, and what it leaves alone."""
import contextlib
import io
import os
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../../tools/docs"))
import check_links  # noqa: E402


class CheckLinksTest(unittest.TestCase):
    def problems(self, **files):
        with tempfile.TemporaryDirectory() as folder:
            for name, text in files.items():
                with open(os.path.join(folder, name.replace("_", ".")), "w", encoding="utf-8") as file:
                    file.write(text)
            said = io.StringIO()
            with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
                status = check_links.main(folder)
            self.assertEqual(status, 1 if said.getvalue() else 0)
            return said.getvalue().replace(folder + os.sep, "").splitlines()

    def test_links_that_lead_somewhere_are_no_problem(self):
        self.assertEqual([], self.problems(
            a_html='<a href="b.html#part"></a><a id="mine" href="#mine"></a><a href="https://x.org/"></a>',
            b_html='<p id="part"></p><a href="a.html"></a><img src="data:image/png,">'))

    def test_a_file_that_is_not_there_is_found(self):
        self.assertIn("a.html: there is no c.html", self.problems(
            a_html='<a href="b.html"></a><a href="c.html"></a>', b_html='<a href="a.html"></a>'))

    def test_a_part_that_is_not_there_is_found(self):
        self.assertIn("a.html: b.html#part: the page has no such part",
                      self.problems(a_html='<a href="b.html#part"></a>', b_html='<a href="a.html"></a>'))

    def test_what_is_loaded_from_elsewhere_is_found(self):
        for loaded in ('<link rel="stylesheet" href="https://fonts.org/f.css">',
                       '<script src="//cdn.org/x.js"></script>'):
            self.assertEqual(1, len([p for p in self.problems(
                a_html=loaded + '<a href="b.html"></a>', b_html='<a href="a.html"></a>')
                if "not in the site" in p]), loaded)
        self.assertEqual(["s.css: https://fonts.org/f.woff is not in the site"], self.problems(
            a_html='<a href="b.html"></a>', b_html='<a href="a.html"></a>',
            s_css="@font-face { src: url(https://fonts.org/f.woff) }"))

    def test_a_page_that_nobody_links_to_is_found(self):
        self.assertEqual(["c.html: no page links to it"], self.problems(
            a_html='<a href="b.html"></a>', b_html='<a href="a.html"></a>',
            c_html='<a href="a.html"></a>'))

    def test_a_folder_without_pages_is_a_failure(self):
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
            self.assertEqual(1, check_links.main(folder))


if __name__ == "__main__":
    unittest.main()
