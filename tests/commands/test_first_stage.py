"""First stages: what BM25 finds, and that an encoder's order is that of the cosines."""

from tiny import SENTENCES

from flipkd.commands.first_stage import by_vectors, by_words
from flipkd.teachers.stored_teacher import StoredTeacher


def test_by_words_prefers_the_rarer_word_as_bm25():
    documents = ["card card bank", "card blocked", "bank hours", "card lost"]
    assert by_words(["blocked card"], documents, top_k=2)[0][0] == 1
    assert by_words(["unknown words", "!"], documents, top_k=2) == [[], []]
    assert by_words(["hours"], documents, top_k=9) == [[2]]


def test_by_vectors_ranks_by_cosine(taught):
    query = "the machine kept my card"
    [found] = by_vectors([query], SENTENCES, taught, top_k=4)
    vectors = StoredTeacher(taught).vectors([query, *SENTENCES])
    assert found == (-(vectors[1:] @ vectors[0])).argsort(kind="stable")[:4].tolist()
