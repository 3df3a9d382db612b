"""LangChain's embeddings and document compressors."""

import pytest

pytestmark = [pytest.mark.clients, pytest.mark.filterwarnings("ignore")]


def test_openai_embeddings(client, url):
    """`OpenAIEmbeddings`"""
    embeddings = client("langchain_openai").OpenAIEmbeddings(
        model="null", base_url=f"{url}/v1", api_key="unused", check_embedding_ctx_length=False
    )
    assert embeddings.embed_query("bb") == [2.0, 0.0]
    assert embeddings.embed_documents(["a", "bb"]) == [[1.0, 0.0], [2.0, 0.0]]


def test_openai_embeddings_of_fewer_dimensions(client, url):
    """`OpenAIEmbeddings(dimensions=)`"""
    embeddings = client("langchain_openai").OpenAIEmbeddings(
        model="null", base_url=f"{url}/v1", api_key="unused", check_embedding_ctx_length=False, dimensions=1
    )
    assert embeddings.embed_query("bb") == [1.0]


def test_cohere_rerank(client, url, probability):
    """`CohereRerank`"""
    documents = [client("langchain_core.documents").Document(text) for text in ("a", "b")]
    reranker = client("langchain_cohere").CohereRerank(model="null", base_url=url, cohere_api_key="unused", top_n=1)
    [found] = reranker.compress_documents(documents, "7")
    assert (found.page_content, found.metadata["relevance_score"]) == ("a", probability("7"))
