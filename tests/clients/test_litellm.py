"""litellm with each provider that may be this server."""

import pytest

pytestmark = [pytest.mark.clients, pytest.mark.filterwarnings("ignore")]


@pytest.mark.parametrize(
    ("provider", "path", "settings"),
    [
        ("cohere", "", {}),
        ("huggingface", "", {}),
        ("infinity", "", {"return_documents": False}),  # else litellm expects documents as infinity has them: strings
        ("hosted_vllm", "", {"instruction": "i", "truncate_prompt_tokens": 9}),
        ("jina_ai", "/v1/rerank", {}),
    ],
)
def test_rerank(client, url, probability, provider, path, settings):
    """`rerank` with cohere, huggingface, infinity, hosted_vllm, jina_ai"""
    found = client("litellm").rerank(
        model=f"{provider}/null",
        query="7",
        documents=["a", "b"],
        top_n=1,
        api_base=url + path,
        api_key="unused",
        **settings,
    )
    assert [(row["index"], row["relevance_score"]) for row in found.results] == [(0, probability("7"))]


@pytest.mark.parametrize("provider", ["openai", "hosted_vllm"])
def test_embedding(client, url, provider):
    """`embedding` with openai, hosted_vllm"""
    found = client("litellm").embedding(
        model=f"{provider}/null", input=["a", "bb"], api_base=f"{url}/v1", api_key="unused"
    )
    assert [row["embedding"] for row in found.data] == [[1.0, 0.0], [2.0, 0.0]]


def test_litellm_errors(client, url):
    """error messages"""
    with pytest.raises(client("litellm").exceptions.BadRequestError, match="text 0 is empty"):
        client("litellm").embedding(model="openai/null", input=[" "], api_base=f"{url}/v1", api_key="unused")
