"""Haystack's embedders and rankers."""

import pytest

pytestmark = [pytest.mark.clients, pytest.mark.filterwarnings("ignore")]


@pytest.fixture
def documents(client):
    return [client("haystack").Document(content=text, meta={"title": "t"}) for text in ("a", "bb")]


@pytest.fixture
def secret(client):
    return client("haystack.utils").Secret.from_token("unused")


def test_openai_embedders(client, url, documents, secret):
    """`OpenAITextEmbedder`, `OpenAIDocumentEmbedder`"""
    embedders, settings = client("haystack.components.embedders"), {"api_key": secret, "api_base_url": f"{url}/v1"}
    assert embedders.OpenAITextEmbedder(model="null", **settings).run("bb")["embedding"] == [2.0, 0.0]
    found = embedders.OpenAIDocumentEmbedder(model="null", progress_bar=False, **settings).run(documents)
    assert [document.embedding for document in found["documents"]] == [[1.0, 0.0], [2.0, 0.0]]


@pytest.mark.usefixtures("hub_client_is_online")
def test_hugging_face_embedders(client, url, documents):
    """`HuggingFaceAPITextEmbedder`, `HuggingFaceAPIDocumentEmbedder`"""
    embedders = client("haystack_integrations.components.embedders.huggingface_api")
    settings = {"api_type": "text_embeddings_inference", "api_params": {"url": url}, "token": None}
    assert embedders.HuggingFaceAPITextEmbedder(**settings).run("bb")["embedding"] == [2.0, 0.0]
    found = embedders.HuggingFaceAPIDocumentEmbedder(progress_bar=False, **settings).run(documents)
    assert [document.embedding for document in found["documents"]] == [[1.0, 0.0], [2.0, 0.0]]


def test_text_embeddings_inference_ranker(client, url, documents, probability):
    """`HuggingFaceTEIRanker`"""
    ranker = client("haystack_integrations.components.rankers.huggingface_api").HuggingFaceTEIRanker(
        url=url, top_k=1, token=None
    )
    [found] = ranker.run(query="7", documents=documents)["documents"]
    assert (found.content, found.score) == ("a", probability("7"))


def test_cohere_ranker(client, url, documents, secret, probability):
    """`CohereRanker`"""
    ranker = client("haystack_integrations.components.rankers.cohere").CohereRanker(
        model="null", api_key=secret, api_base_url=url, top_k=1, meta_fields_to_embed=["title"]
    )
    [found] = ranker.run(query="7", documents=documents)["documents"]
    assert (found.content, found.score) == ("a", probability("7"))
