"""The World Factbook as a source of articles that brings its own questions."""

from realm_jax.corpus.source import Given
from realm_jax.factbook.articles import articles
from realm_jax.factbook.package import EDITION, load_countries
from realm_jax.factbook.questions_of_countries import questions
from realm_jax.qa.questions import Question


class Factbook(Given):
    """The edition that is installed, for any path."""

    def __init__(self, path: str = "", option: str = "data.path"):
        super().__init__(articles(), EDITION)

    def questions(self, by_kind: bool) -> dict[str, list[Question]]:
        return questions(load_countries(), by_kind)
