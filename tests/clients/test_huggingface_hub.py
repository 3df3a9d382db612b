"""huggingface_hub's InferenceClient."""

import pytest

pytestmark = [
    pytest.mark.clients,
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.usefixtures("hub_client_is_online"),
]


@pytest.mark.parametrize("path", ["", "/embed"])
def test_feature_extraction(client, url, path):
    """`feature_extraction`"""
    found = (
        client("huggingface_hub")
        .InferenceClient(url + path)
        .feature_extraction("bb", normalize=False, prompt_name="query", truncate=True, truncation_direction="right")
    )
    assert found.tolist() == [[2.0, 0.0]]


def test_feature_extraction_of_fewer_dimensions(client, url):
    """`feature_extraction(dimensions=)`"""
    found = client("huggingface_hub").InferenceClient(url).feature_extraction(["a", "bb"], dimensions=1)
    assert found.tolist() == [[1.0], [1.0]]


@pytest.mark.parametrize("path", ["", "/similarity"])
def test_sentence_similarity(client, url, path):
    """`sentence_similarity`"""
    found = (
        client("huggingface_hub").InferenceClient(url + path).sentence_similarity("aa", other_sentences=["b", "bb"])
    )
    assert found == [2.0, 4.0]


def test_text_classification(client, url, probability):
    """`text_classification` of pairs"""
    [found] = client("huggingface_hub").InferenceClient(url).text_classification([["7", "a"]])
    assert (found.label, found.score) == ("match", probability("7"))


def test_text_embeddings_inference_rerank(client, url, probability):
    """`post` of TEI's rerank body"""
    session = client("huggingface_hub").utils.get_session()
    found = session.post(f"{url}/rerank", json={"query": "7", "texts": ["a", "b"], "top_n": 1}).json()
    assert found == [{"index": 0, "score": probability("7")}]
