"""openai's SDK."""

import pytest

pytestmark = [pytest.mark.clients, pytest.mark.filterwarnings("ignore")]


@pytest.fixture
def sdk(client, url):
    return client("openai").OpenAI(base_url=f"{url}/v1", api_key="unused", max_retries=0)


@pytest.mark.parametrize("encoding", [{}, {"encoding_format": "float"}], ids=["base64", "float"])
def test_embeddings(sdk, encoding):
    """`embeddings.create`"""
    found = sdk.embeddings.create(model="null", input=["a", "bb"], user="u", **encoding)
    assert [row.embedding for row in found.data] == [[1.0, 0.0], [2.0, 0.0]]
    assert found.usage.total_tokens == 2


def test_embeddings_of_fewer_dimensions(sdk):
    """`embeddings.create(dimensions=)`"""
    assert sdk.embeddings.create(model="null", input="bb", dimensions=1).data[0].embedding == [1.0]


def test_openai_models(sdk):
    """`models.list`"""
    assert [model.id for model in sdk.models.list()] == ["null"]


def test_openai_errors(sdk, client):
    """error messages"""
    with pytest.raises(client("openai").UnprocessableEntityError, match="the vectors have 2") as caught:
        sdk.embeddings.create(model="null", input="a", dimensions=5)
    assert (caught.value.type, caught.value.code, caught.value.param) == ("invalid_request_error", "validation", None)
    with pytest.raises(client("openai").UnprocessableEntityError) as caught:
        sdk.embeddings.create(model="null", input=[[1, 2]])
    assert caught.value.param == "input"
