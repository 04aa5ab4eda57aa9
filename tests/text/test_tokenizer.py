"""Wordpieces, and that their offsets point at the text they came from."""

import json
import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from realm_jax.errors import UserError
from realm_jax.text.tokenizer import Tokenizer, byte_offsets, characters

LETTERS = [chr(ord("a") + i) for i in range(26)]
VOCAB = (
    ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "republic", "un", "##aff", "##able", "[", "]", ",", "."]
    + LETTERS
    + [f"##{letter}" for letter in LETTERS]
)
texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=60)


def plain(text):
    """Lower case without accents."""
    decomposed = unicodedata.normalize("NFD", text.lower())
    return "".join(c for c in decomposed if unicodedata.category(c) != "Mn")


def pieces(tokenizer, text):
    return [tokenizer.piece(int(i)) for i in tokenizer.encode(text).ids]


def test_longest_pieces_first_lower_case_accents_stripped():
    assert pieces(Tokenizer(VOCAB), "Républic, UNaffable.") == ["republic", ",", "un", "##aff", "##able", "."]


def test_mask_is_read_and_other_special_tokens_are_not():
    tokenizer = Tokenizer(VOCAB)
    assert tokenizer.encode_batch(["a [MASK] b"], mask=True)[0].ids[1] == tokenizer.mask_id
    assert tokenizer.mask_id not in tokenizer.encode("a [MASK] b").ids  # a document may speak of it
    assert tokenizer.sep_id not in tokenizer.encode("a [SEP] b").ids
    assert tokenizer.cls_id not in tokenizer.encode("[CLS]").ids


def test_decode_joins_words_and_leaves_special_tokens_out():
    tokenizer = Tokenizer(VOCAB)
    ids = [tokenizer.cls_id, *tokenizer.encode_batch(["unaffable [MASK], a"], mask=True)[0].ids, tokenizer.sep_id, 0, 0]
    assert tokenizer.decode(ids) == "unaffable [MASK], a"


@given(texts)
def test_offsets_ascend_and_cover_what_the_piece_says(text):
    tokenizer = Tokenizer(VOCAB)
    encoding = tokenizer.encode(text)
    assert encoding.ids.dtype == np.int32 and encoding.offsets.shape == (len(encoding), 2)
    assert np.all(encoding.offsets[:, 0] <= encoding.offsets[:, 1])
    assert np.all(encoding.offsets[1:, 0] >= encoding.offsets[:-1, 1])
    for token, (start, limit) in zip(encoding.ids, encoding.offsets, strict=True):
        piece = tokenizer.piece(int(token)).removeprefix("##")
        if piece not in ("[UNK]", "[MASK]"):
            assert plain(text[start:limit]) == piece


@given(st.lists(texts, max_size=5))
def test_a_batch_is_its_texts(batch):
    tokenizer = Tokenizer(VOCAB)
    for text, encoding, ids in zip(batch, tokenizer.encode_batch(batch), tokenizer.ids_batch(batch), strict=True):
        alone = tokenizer.encode(text)
        assert ids == alone.ids.tolist()
        np.testing.assert_array_equal(encoding.ids, alone.ids)
        np.testing.assert_array_equal(encoding.offsets, alone.offsets)


@given(texts)
def test_byte_offsets_are_those_of_utf8_and_invert(text):
    offsets = byte_offsets(text)
    assert offsets.tolist() == [len(text[:i].encode()) for i in range(len(text) + 1)]
    np.testing.assert_array_equal(characters(text, offsets), np.arange(len(text) + 1))


def test_vocabulary_file(tmp_path):
    path = tmp_path / "vocab.txt"
    path.write_text("\n".join(VOCAB) + "\n")
    tokenizer = Tokenizer.from_vocab(path)
    assert tokenizer.vocab_size == len(VOCAB)
    assert (tokenizer.pad_id, tokenizer.cls_id, tokenizer.sep_id, tokenizer.mask_id) == (0, 2, 3, 4)
    assert tokenizer.continues.sum() == 28
    assert tokenizer.fingerprint == Tokenizer(VOCAB).fingerprint != Tokenizer([*VOCAB, "x!"]).fingerprint


def test_a_vocabulary_keeps_case_where_its_settings_say_so(tmp_path):
    path, settings = tmp_path / "vocab.txt", tmp_path / "tokenizer_config.json"
    path.write_text("\n".join([*VOCAB, "A", "é"]) + "\n")
    plain = Tokenizer.from_vocab(path)
    assert plain.fingerprint == "3f38f004b2569908"  # of what was prepared by earlier versions, too
    for content in ({}, {"do_lower_case": True}):
        settings.write_text(json.dumps(content))
        tokenizer = Tokenizer.from_vocab(path)
        assert pieces(tokenizer, "A é") == ["a", "e"] and tokenizer.fingerprint == plain.fingerprint
    settings.write_text(json.dumps({"do_lower_case": False}))
    tokenizer = Tokenizer.from_vocab(path)
    assert pieces(tokenizer, "A é") == ["A", "é"] and tokenizer.fingerprint == f"{plain.fingerprint}-cased"


@pytest.mark.parametrize("content", ["[1]", "{", '{"do_lower_case": "no"}'])
def test_bad_settings_of_a_vocabulary_are_a_users_mistake(tmp_path, content):
    (tmp_path / "vocab.txt").write_text("\n".join(VOCAB) + "\n")
    (tmp_path / "tokenizer_config.json").write_text(content)
    with pytest.raises(UserError, match="tokenizer_config.json: .*do_lower_case") as error:
        Tokenizer.from_vocab(tmp_path / "vocab.txt")
    assert str(tmp_path) in str(error.value)


@pytest.mark.parametrize(
    ("content", "says"),
    [(None, "vocab.txt"), (b"\xff\xfe\n", "vocab.txt"), (b"[PAD]\n[UNK]\n", "MASK"), (b"a\n", "PAD")],
)
def test_a_bad_vocabulary_is_a_users_mistake(tmp_path, content, says):
    path = tmp_path / "vocab.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=says) as error:
        Tokenizer.from_vocab(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize(
    ("settings", "stripped"),
    [
        ({}, True),
        ({"do_lower_case": True, "strip_accents": None}, True),
        ({"do_lower_case": True, "strip_accents": False}, False),
        ({"do_lower_case": False}, False),
        ({"do_lower_case": False, "strip_accents": True}, True),
    ],
)
def test_accents_are_stripped_as_the_file_says(tmp_path, settings, stripped):
    (tmp_path / "vocab.txt").write_text("\n".join([*VOCAB, "brücke", "brucke"]), encoding="utf-8")
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    tokenizer = Tokenizer.from_vocab(tmp_path / "vocab.txt")
    assert tokenizer.decode(tokenizer.encode("brücke").ids) == ("brucke" if stripped else "brücke")


def test_tokenizers_that_differ_have_other_fingerprints():
    kinds = [Tokenizer(VOCAB, lowercase=low, strip_accents=strip) for low in (True, False) for strip in (True, False)]
    assert len({tokenizer.fingerprint for tokenizer in kinds}) == 4
    assert Tokenizer(VOCAB).fingerprint == kinds[0].fingerprint


def test_embeddings_without_a_wordpiece_are_shown_by_their_row():
    tokenizer = Tokenizer(VOCAB)
    assert tokenizer.decode([tokenizer.vocab_size + 3]) == f"[row {tokenizer.vocab_size + 3}]"
