"""LlamaIndex's embeddings and node postprocessors."""

import pytest

pytestmark = [pytest.mark.clients, pytest.mark.filterwarnings("ignore")]


@pytest.fixture
def nodes(client):
    schema = client("llama_index.core.schema")
    return [schema.NodeWithScore(node=schema.TextNode(text=text)) for text in ("a", "b")]


def test_openai_like_embedding(client, url):
    """`OpenAILikeEmbedding`"""
    embedding = client("llama_index.embeddings.openai_like").OpenAILikeEmbedding(
        model_name="null", api_base=f"{url}/v1", api_key="unused"
    )
    assert embedding.get_text_embedding_batch(["a", "bb"]) == [[1.0, 0.0], [2.0, 0.0]]


def test_text_embeddings_inference(client, url):
    """`TextEmbeddingsInference`"""
    embedding = client("llama_index.embeddings.text_embeddings_inference").TextEmbeddingsInference(
        model_name="null", base_url=url
    )
    assert embedding.get_text_embedding_batch(["a", "bb"]) == [[1.0, 0.0], [2.0, 0.0]]


def test_text_embeddings_inference_rerank(client, url, nodes, probability):
    """`TextEmbeddingInference` as reranker"""
    reranker = client("llama_index.postprocessor.tei_rerank").TextEmbeddingInference(base_url=url, top_n=1)
    [found] = reranker.postprocess_nodes(nodes, query_str="7")
    assert (found.text, found.score) == ("a", probability("7"))


def test_cohere_rerank(client, url, nodes, probability):
    """`CohereRerank`"""
    reranker = client("llama_index.postprocessor.cohere_rerank").CohereRerank(
        api_key="unused", base_url=url, model="null", top_n=1
    )
    [found] = reranker.postprocess_nodes(nodes, query_str="7")
    assert (found.text, found.score) == ("a", probability("7"))
