"""Every kind of document gives the text that a reader sees, its title, and its sections where it is long."""

import os
from pathlib import Path

import pytest
from pypdf import PdfReader, PdfWriter

from realm_jax.corpus.articles import Article, Bad
from realm_jax.corpus.documents import LONG, TITLE, Document, markdown, parts
from realm_jax.corpus.folder import FOLDER_SHARDS, Folder
from realm_jax.corpus.html_document import html
from realm_jax.corpus.pdf_document import pdf
from realm_jax.corpus.rst_document import rst
from realm_jax.errors import UserError
from tests.corpus.pdf_files import pdf_file


def everything(source):
    return [found for shard in source.shards() for found in source.read(shard)]


def faults(found):
    return [str(bad) for bad in found if isinstance(bad, Bad)]


def plain_markdown(text):
    document = markdown(text.encode())
    return document.title, document.text


def test_a_folder_gives_a_document_a_file(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "the_river.txt").write_text("It is long\nand cold.\n\n\nIt has fish.\n")
    table = "| a | b |\n|---|---|\n| c | d |\n"
    (tmp_path / "a.md").write_text(f"# The *lake*\n\nA [lake](x.html) is\nwet.\n\n- one\n- two `b`\n\n{table}")
    (tmp_path / "image.png").write_bytes(b"\x89PNG")
    (tmp_path / "bad.txt").write_bytes(b"one\ntwo\nthr\xffe\n")
    (tmp_path / "empty.md").write_text("\n \n")
    found = everything(Folder(str(tmp_path)))
    texts = {article.title: article.text for article in found if isinstance(article, Article)}
    assert texts == {
        "the river": "It is long and cold.\nIt has fish.",
        "The lake": "A lake is wet.\none\ntwo b\na\nb\nc\nd",
    }
    assert sorted(fault.split(": ")[0].rsplit("/")[-1] for fault in faults(found)) == ["bad.txt:3", "empty.md"]


def test_names_and_suffixes_as_people_have_them(tmp_path):
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/r\xe9sum\xe9.txt"))
    odd.write_text("It is a life.")
    for name in ("README.TXT", "NOTES.MD", "quay.txt"):
        (tmp_path / name).write_text(f"It is {name}.")
    (tmp_path / "a.png").write_bytes(b"PNG")
    (tmp_path / ".hidden.txt").write_bytes(b"It is.")
    source = Folder(str(tmp_path))
    found = everything(source)
    assert sorted(article.id for article in found) == ["NOTES.MD", "README.TXT", "quay.txt", r"r\xe9sum\xe9.txt"]
    assert {article.title for article in found} >= {r"r\xe9sum\xe9"} and source.others() == ["a.png"]
    assert all(article.origin.encode() for article in found)


def test_links_to_folders_are_followed_and_loops_cut(tmp_path):
    for folder in ("docs", "elsewhere/deep"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "docs" / "a.txt").write_text("It is a.")
    (tmp_path / "elsewhere" / "deep" / "b.txt").write_text("It is b.")
    (tmp_path / "docs" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "deep" / "up").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "docs" / "gone").symlink_to(tmp_path / "nowhere")
    found = everything(Folder(str(tmp_path / "docs")))
    assert sorted(article.id for article in found) == ["a.txt", "link/deep/b.txt"]


def test_markdown_without_markup():
    text = "Intro **bold**.\n\n## Next\n\n```\ncode = 1\n```\n\n<b>html</b>\n\n![pic](p.png) > quote & more\n"
    assert plain_markdown(text) == ("", "Intro bold.\nNext\ncode = 1\nhtml\npic > quote & more")


def test_tags_within_a_line_of_markdown_part_words_where_a_reader_sees_them_apart():
    text = "# The<br>bridge\n\nOslo<br>Bergen<br />2<sup>nd</sup> H<!-- two -->2O, <kbd>a</kbd>b, long<wbr>word\n"
    assert plain_markdown(text) == ("The bridge", "Oslo Bergen 2nd H2O, ab, longword")


@pytest.mark.parametrize(
    ("text", "title", "plain"),
    [
        ("---\ntitle: The bridge\ndate: 1871\n---\nIt is long.\n", "The bridge", "It is long."),
        ("---\r\n# by hand\ntags: [a]\ntitle: 'The: bridge' \n\n...\r\n# The: bridge\nIt.", "The: bridge", "It."),
        ('---\nTitle: "The \\"old\\" bridge"\n---\n# Built\n\nIt.', 'The \\"old\\" bridge', "Built\nIt."),
        ("---\nlayout: post\n---\n# The bridge\n\nIt.", "The bridge", "It."),
        ("---\nlayout: post\ntitle: >-\n  The bridge\nbook:\n  title: No\n---\nIt.", "", "It."),
        ('---\ntitle: ""\n---\nIt.', "", "It."),
        ("---\n\nIt is long.\n\n---\n\nThe end.", "", "It is long.\nThe end."),
        ("---\nIt is long.\n\n---\nThe end.", "", "It is long.\nThe end."),
        ("It: is\n\n---\ntitle: No\n\n---\n", "", "It: is\ntitle: No"),
        ("---\ntitle: It has no end.\n", "", "title: It has no end."),
    ],
)
def test_front_matter_of_markdown_is_no_text(text, title, plain):
    assert plain_markdown(text) == (title, plain)


def test_text_in_html_blocks_of_markdown_stays():
    banner = '<p align="center">\n<img src="a.png" alt="x">Built by <b>Ola</b> &amp;\nKari.</p>\n\n'
    table = "<table><tr><td>Oslo</td><td>1 < 2</td></tr></table>\n<br/>\nThe end.\n\n"
    unseen = "<!-- a\n\ncomment -->\n\n<script>\nif (a > b) { }\n\n</script>\n\n<style>p {}</style>\n"
    end = "<div>\n\nIt is *long*.\n\n</div>\n<!-- without end\n"
    title, text = plain_markdown(f"{banner}# The bridge\n\n{unseen}\n{table}{end}")
    assert title == "The bridge"
    assert text == "Built by Ola & Kari.\nOslo\n1 < 2\nThe end.\nIt is long."


def test_other_files_keep_their_shards_when_one_comes(tmp_path):
    for i in range(30):
        (tmp_path / f"{i}.txt").write_text(f"Document {i}.")
    before = set(Folder(str(tmp_path)).shards())
    (tmp_path / "31.txt").write_text("It is new.")
    (tmp_path / "4.txt").write_text("It is changed.")
    after = set(Folder(str(tmp_path)).shards())
    assert len(after - before) == 2 and len(before - after) == 1 and FOLDER_SHARDS > 1000


@pytest.mark.parametrize("source_path", ["../.cache/docs", "../here/../.cache/docs"])
def test_only_what_is_hidden_within_the_folder_is_left_out(tmp_path, monkeypatch, source_path):
    for name in (".cache/docs/a.md", ".cache/docs/.git/b.md", ".cache/docs/c/.d.md", "here/e.md"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"It is {name}.")
    monkeypatch.chdir(tmp_path / "here")
    assert [article.id for article in everything(Folder(source_path))] == ["a.md"]


def lorem(what, size=LONG):
    """Long text of sentences that say what they are of."""
    sentence = f"This sentence tells something of the {what}. "
    return (sentence * (size // len(sentence) + 1)).strip()


def test_headings_of_long_documents_stand_in_titles(tmp_path):
    text = f"# Manual\n\nBefore all.\n\n## Installation\n\n### Linux\n\n{lorem('linux')}\n\n"
    (tmp_path / "manual.md").write_text(
        f"{text}### Windows\n\nIt is easy.\n\n## Use of the manual\n\nOpen it.\n\n## The end\n"
    )
    (tmp_path / "short.md").write_text("# Short\n\n## Part\n\nIt is short.\n")
    found = everything(Folder(str(tmp_path)))
    assert {(article.id, article.title, article.subject) for article in found} == {
        ("manual.md", "Manual", "Manual"),
        ("manual.md#1", "Manual: Installation: Linux", "Manual"),
        ("manual.md#2", "Manual: Installation: Windows", "Manual"),
        ("manual.md#3", "Manual: Use of the manual", "Manual"),
        ("manual.md#4", "Manual: The end", "Manual"),
        ("short.md", "Short", "Short"),
    }
    texts = {article.title: article.text for article in found}
    assert texts["Manual: Installation: Linux"] == f"Installation\nLinux\n{lorem('linux')}"
    assert texts["Short"] == "Part\nIt is short."


def test_sections_hold_every_line_once():
    lines = [(1, "A"), (3, "B"), (0, lorem("b")), (2, "C"), (2, "D"), (0, "d"), (0, "e"), (1, "F")]
    found = list(parts(Document(lines), "T"))
    assert [title for title, _ in found] == ["T: A: B", "T: A: D", "T: F"]
    assert "\n".join(text for _, text in found).split("\n") == [text for _, text in lines]


def test_a_long_title_keeps_its_last_heading():
    lines = [(1, "a" * TITLE), (2, "A heading that says nothing anew"), (3, "heading"), (0, lorem("b"))]
    assert [title for title, _ in parts(Document(lines), "T")] == ["T: A heading that says nothing anew"]


def test_html_as_a_reader_sees_it():
    page = """<!doctype html><html><head><title> The
      bridge &mdash; Oslo</title><style>p { color: red }</style><script>if (a < b) { "</p>" }</script></head>
      <body><nav><ul><li>Home</li></ul></nav><h1>The bridge</h1><p>It is <b>lo</b>ng &amp; wide.<br>It&nbsp;is old.
      <h2 class="x">Built</h2><div>In 1871<p>by Ola<!-- not so --></div>
      <table><tr><td>Length</td><td>12 m</td></tr></table><pre>a = 1
  b = 2</pre></b></i><p hidden>x<footer>All rights</footer>"""
    document = html(page.encode())
    assert document.title == "The bridge — Oslo"
    assert document.lines[:4] == [(1, "The bridge"), (0, "It is long & wide."), (0, "It is old."), (2, "Built")]
    assert document.text.split("\n")[4:] == ["In 1871", "by Ola", "Length", "12 m", "a = 1", "b = 2", "x"]


def test_html_without_a_title_has_its_first_heading():
    assert html(b"<h2>The lake</h2><p>It is wet.") == Document([(0, "It is wet.")], "The lake")
    assert html(b"<p>It is wet.<h2>The lake</h2>").title == ""


def test_html_in_other_charsets():
    page = '<meta http-equiv="Content-Type" content="text/html; charset={}"><p>Caf\u00e9 \u201cOlé\u201d'
    assert html(page.format("ISO-8859-1").encode("cp1252")).text == "Café “Olé”"
    assert html(page.format("utf-8").encode()).text == html(page.format("x").encode("utf-16")).text == "Café “Olé”"
    for charset in ("utf-8", "klingon", ""):
        with pytest.raises(UserError, match="save the file as UTF-8"):
            html(page.format(charset).encode("cp1252"))


def test_rst_as_a_reader_sees_it():
    text = """
The bridge
==========

It is *long*, see :ref:`the plan <plan>` and `Oslo <http://x.y>`_ in ``code``.

.. contents::
.. toctree::

   other

Built
-----

.. _plan:

* one
* two

.. versionadded:: 1.2
   :since: x

   The handrail is new.

.. note:: It is wet.

.. code-block:: python

   a = 1

====  ====
Name  Size
====  ====
Oslo  12
====  ====
"""
    document = rst(text.encode())
    assert document.title == "The bridge"
    assert document.lines[:2] == [(0, "It is long, see the plan and Oslo in code."), (1, "Built")]
    said = document.text.split("\n")[2:]
    assert said == ["one", "two", "The handrail is new.", "It is wet.", "a = 1", "Name", "Size", "Oslo", "12"]


def test_rst_reads_no_other_file(tmp_path):
    (tmp_path / "secret.txt").write_text("secret")
    text = f"A text.\n\n.. include:: {tmp_path}/secret.txt\n\n.. raw:: html\n   :file: {tmp_path}/secret.txt\n"
    assert "secret\n" not in rst(text.encode()).text + "\n"


def test_pdf_as_a_reader_sees_it(tmp_path):
    pages = [
        ["The bridge of Oslo", "1 Construction", "It was built in 1871 by Ola and his bro-", "thers, of stone. It has"],
        ["two arches, which are high above the river.", "1.1 Cost", "It cost 12 (twelve) pounds.", "2"],
    ]
    outline = [("Construction", 0, 1), ("1.1 Cost", 1, 2)]
    pdf_file(tmp_path / "the_bridge.pdf", pages, "Bridges", outline)
    document = pdf((tmp_path / "the_bridge.pdf").read_bytes())
    assert document == Document(
        [
            (0, "The bridge of Oslo"),
            (1, "1 Construction"),
            (
                0,
                "It was built in 1871 by Ola and his brothers, of stone. It has two arches, which are high above the "
                "river.",
            ),
            (2, "1.1 Cost"),
            (0, "It cost 12 (twelve) pounds."),
        ],
        "Bridges",
    )
    pdf_file(tmp_path / "the_bridge.pdf", pages, "Microsoft Word - bridge.doc")
    (article,) = everything(Folder(str(tmp_path)))
    assert article.title == "the bridge" and article.id == "the_bridge.pdf"


def test_damaged_encrypted_and_scanned_pdfs_are_named(tmp_path):
    pdf_file(tmp_path / "good.pdf", [["It is good."]])
    data = (tmp_path / "good.pdf").read_bytes()
    pdf_file(tmp_path / "scan.pdf", [[]])
    (tmp_path / "cut.pdf").write_bytes(data[: len(data) // 3])
    (tmp_path / "none.pdf").write_bytes(b"<html>Not found</html>")
    (tmp_path / "empty.pdf").write_bytes(b"")
    for name, password in (("locked.pdf", "secret"), ("open.pdf", "")):
        writer = PdfWriter(clone_from=PdfReader(tmp_path / "good.pdf"))
        writer.encrypt(password, "owner", algorithm="RC4-128")
        writer.write(tmp_path / name)
    found = everything(Folder(str(tmp_path)))
    told = {fault.rpartition("/")[2].partition(": ")[0]: fault for fault in faults(found)}
    assert sorted(told) == ["cut.pdf", "empty.pdf", "locked.pdf", "none.pdf", "scan.pdf"]
    assert "encrypted" in told["locked.pdf"] and "OCR" in told["scan.pdf"] and "damaged" in told["cut.pdf"]
    assert sorted(article.id for article in found if isinstance(article, Article)) == ["good.pdf", "open.pdf"]


def test_a_missing_package_is_said_before_anything_is_cut(tmp_path, monkeypatch):
    (tmp_path / "a.txt").write_text("It is.")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    Folder(str(tmp_path)).shards()
    (tmp_path / "b.PDF").write_bytes(b"%PDF")
    with pytest.raises(UserError, match=r"\.pdf files \(1\) needs the package pypdf; pip install 'realm_jax\[pdf\]'"):
        Folder(str(tmp_path)).shards()
