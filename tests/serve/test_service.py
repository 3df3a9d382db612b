"""A service while it loads, when it cannot, and when its model fails."""

from servers import null_server


def test_while_it_loads_it_is_alive_and_not_ready():
    with null_server(loading=1.5) as server:
        assert server.ask("/healthz").status == 200
        ready = server.ask("/readyz")
        assert ready.status == 503
        assert "loading" in ready.json["detail"]
        assert server.ask("/match", {"pairs": [["1", "x"]]}).status == 503
        server.until_ready()


def test_a_model_that_cannot_be_loaded_ends_it_with_its_exit_code():
    with null_server(loading=0.5, broken=True) as server:
        assert server.ask("/readyz").status == 503
        assert server.process.wait(10) == 6


def test_a_model_that_failed_is_tried_again_by_itself():
    with null_server(probe_interval=1.0) as server:
        server.until_ready()
        for _ in range(3):
            assert server.ask("/match", {"pairs": [["boom", "x"]] * 40}).status == 500
        assert server.ask("/readyz").status == 503
        server.until_ready()
