"""Cohere's SDK."""

import pytest

pytestmark = [pytest.mark.clients, pytest.mark.filterwarnings("ignore")]


@pytest.mark.parametrize("name", ["Client", "ClientV2"])
def test_rerank(client, url, probability, name):
    """`rerank` of `Client` and `ClientV2`"""
    sdk = getattr(client("cohere"), name)(api_key="unused", base_url=url)
    found = sdk.rerank(model="null", query="7", documents=["a", "b"], top_n=1, **extra(name))
    assert [(row.index, row.relevance_score) for row in found.results] == [(0, probability("7"))]


def extra(name):
    return (
        {"max_tokens_per_doc": 100, "priority": 1}
        if name == "ClientV2"
        else {"return_documents": True, "max_chunks_per_doc": 9}
    )


def test_rerank_of_fields(client, url):
    """`Client.rerank(rank_fields=)`"""
    sdk = client("cohere").Client(api_key="unused", base_url=url)
    documents = [{"text": "a", "title": "b"}, {"text": "c", "title": "d"}]
    found = sdk.rerank(query="7", documents=documents, rank_fields=["title", "text"], return_documents=True)
    assert [row.document.text for row in found.results] == ["b\na", "d\nc"]


def test_cohere_errors(client, url):
    """error messages"""
    sdk = client("cohere").ClientV2(api_key="unused", base_url=url)
    with pytest.raises(client("cohere").UnprocessableEntityError, match="document 1 is empty"):
        sdk.rerank(model="null", query="7", documents=["a", " "])
