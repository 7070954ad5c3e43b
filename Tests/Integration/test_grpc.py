"""gRPC end to end, with grpcio at both ends: the four kinds of calls, deadlines, cancellations, refusals, reloads."""

import threading
from concurrent import futures

import grpc
import pytest

from harness.bound import FULL, PATIENCE, until
from harness.gateway import plain
from harness.tokens import bearer2, key_set
from harness.ports import free_port

SERVICE = "test.Echo"


class Echo(grpc.GenericRpcHandler):
    """Generic methods over bytes, which need no generated code."""

    def __init__(self):
        self.remaining = []
        self.cancelled = threading.Event()
        self.begun = threading.Event()
        self.metadata = []

    def service(self, details):
        self.metadata.append(dict(details.invocation_metadata))
        name = details.method.rsplit("/", 1)[1]
        kinds = {
            "Unary": grpc.unary_unary_rpc_method_handler, "Fail": grpc.unary_unary_rpc_method_handler,
            "Slow": grpc.unary_unary_rpc_method_handler, "Down": grpc.unary_stream_rpc_method_handler,
            "Endless": grpc.unary_stream_rpc_method_handler, "Up": grpc.stream_unary_rpc_method_handler,
            "Both": grpc.stream_stream_rpc_method_handler,
        }
        return kinds[name](getattr(self, name.lower())) if name in kinds else None

    def unary(self, message, context):
        self.remaining.append(context.time_remaining())
        context.set_trailing_metadata((("x-trailer", "kept"), ("x-raw-bin", b"\x00\xff")))
        return message

    def fail(self, message, context):
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, "ganz & gar nicht: ä%")

    def slow(self, message, context):
        context.add_callback(self.cancelled.set)
        self.begun.set()
        self.cancelled.wait(PATIENCE)
        return message

    def down(self, message, context):
        for number in range(10):
            yield message + b"%d" % number

    def endless(self, message, context):
        context.add_callback(self.cancelled.set)
        while context.is_active():
            yield message
            self.begun.set()

    def up(self, messages, context):
        return b"".join(messages)

    def both(self, messages, context):
        for message in messages:
            yield message


@pytest.fixture
def echo():
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=16))
    server.handler = Echo()
    server.add_generic_rpc_handlers((server.handler,))
    server.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    yield server
    server.stop(None).wait()


@pytest.fixture
def channels():
    made = []

    def make(gateway, listener=None):
        host, port = gateway.address(listener)
        made.append(grpc.insecure_channel(f"{host}:{port}"))
        return made[-1]

    yield make
    for channel in made:
        channel.close()


def before(echo, **change):
    config = plain(echo, **change)
    config["services"]["up"]["to"] = [f"h2c://{echo.address}"]
    return config


def call(channel, name="Unary", kind="unary_unary"):
    return getattr(channel, kind)(f"/{SERVICE}/{name}")


def test_the_four_kinds_of_calls(gateways, echo, channels):
    channel = channels(gateways(before(echo)))
    answer, done = call(channel).with_call(b"one", metadata=(("x-asked", "yes"),), timeout=PATIENCE)
    assert answer == b"one" and done.code() == grpc.StatusCode.OK
    trailers = dict(done.trailing_metadata())
    assert trailers["x-trailer"] == "kept" and trailers["x-raw-bin"] == b"\x00\xff"
    assert echo.handler.metadata[0]["x-asked"] == "yes"
    down = call(channel, "Down", "unary_stream")(b"n", timeout=PATIENCE)
    assert list(down) == [b"n%d" % number for number in range(10)]
    assert call(channel, "Up", "stream_unary")(iter([b"a" * 1000] * 300), timeout=PATIENCE) == b"a" * 300_000
    both = call(channel, "Both", "stream_stream")(iter([b"%d" % n for n in range(100)]), timeout=PATIENCE)
    assert list(both) == [b"%d" % n for n in range(100)]


def test_messages_are_passed_on_as_they_arrive(gateways, echo, channels):
    """Each message is sent only when the one before it has come back."""
    channel = channels(gateways(before(echo)))
    turn = threading.Semaphore(1)

    def messages():
        for number in range(20):
            assert turn.acquire(timeout=PATIENCE)
            yield b"%d" % number

    got = []
    for message in call(channel, "Both", "stream_stream")(messages(), timeout=PATIENCE):
        got.append(message)
        turn.release()
    assert got == [b"%d" % number for number in range(20)]


def test_a_call_is_not_held_to_the_limit_of_bodies(gateways, echo, channels):
    gateway = gateways(before(echo, limits_of_http={"body": "1MiB"}))
    channel = channels(gateway)
    big = [b"b" * 100_000] * 30
    options = call(channel, "Up", "stream_unary")
    with pytest.raises(grpc.RpcError) as caught:
        # Larger than grpcio itself takes for an answer: only the way there is tried.
        assert len(options(iter(big * 2), timeout=PATIENCE)) > 0
    assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED and "larger than max" in caught.value.details()
    assert len(options(iter(big), timeout=PATIENCE)) == 3_000_000
    config = before(echo)
    config["routes"][0]["body"] = {"max": "1MiB"}
    gateway.reload(config)
    with pytest.raises(grpc.RpcError) as caught:
        options(iter(big), timeout=PATIENCE)
    assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "larger than this route allows" in caught.value.details()


def test_the_services_own_errors_come_through_whole(gateways, echo, channels):
    channel = channels(gateways(before(echo)))
    with pytest.raises(grpc.RpcError) as caught:
        call(channel, "Fail")(b"", timeout=PATIENCE)
    assert caught.value.code() == grpc.StatusCode.FAILED_PRECONDITION
    assert caught.value.details() == "ganz & gar nicht: ä%"
    with pytest.raises(grpc.RpcError) as caught:
        call(channel, "Unknown")(b"", timeout=PATIENCE)
    assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED


def test_deadlines_are_passed_on_and_kept(gateways, echo, channels):
    channel = channels(gateways(before(echo)))
    call(channel)(b"", timeout=PATIENCE)
    # A timeout travels in units that round it up.
    assert 0 < echo.handler.remaining[0] <= PATIENCE + 1
    with pytest.raises(grpc.RpcError) as caught:
        call(channel, "Slow")(b"", timeout=2)
    assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert echo.handler.cancelled.wait(PATIENCE)


def test_cancellations_reach_the_service(gateways, echo, channels):
    channel = channels(gateways(before(echo)))
    under_way = call(channel, "Endless", "unary_stream")(b"x" * 1000)
    assert next(under_way) == b"x" * 1000
    assert echo.handler.begun.wait(PATIENCE)
    under_way.cancel()
    assert echo.handler.cancelled.wait(PATIENCE)
    assert call(channel)(b"still", timeout=PATIENCE) == b"still"


def test_a_service_that_goes_away_in_a_call_is_told_as_such(gateways, echo, channels):
    channel = channels(gateways(before(echo)))
    under_way = call(channel, "Slow").future(b"", timeout=PATIENCE)
    assert echo.handler.begun.wait(PATIENCE)
    echo.stop(None)
    with pytest.raises(grpc.RpcError) as caught:
        under_way.result()
    assert caught.value.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)


# MARK: Refusals of the gateway's own


def refused(channel, **options):
    with pytest.raises(grpc.RpcError) as caught:
        call(channel)(b"", timeout=PATIENCE, **options)
    return caught.value


def test_without_a_token_a_call_is_unauthenticated(gateways, echo, channels, key, tmp_path):
    keys = tmp_path / "keys.json"
    keys.write_text(key_set(key))
    jwt = {"issuer": "https://auth.test", "audience": ["platform-api"], "keys": {"file": str(keys)}}
    gateway = gateways(before(echo, auth={"main": {"jwt": jwt}}, defaults={"auth": "main", "limits": []}))
    channel = channels(gateway)
    error = refused(channel)
    assert error.code() == grpc.StatusCode.UNAUTHENTICATED and error.details() == "A bearer token is required"
    ids = dict(error.initial_metadata() or ()) | dict(error.trailing_metadata() or ())
    line = gateway.access_line(ids["x-request-id"])
    assert (line["status"], line["reason"]) == (401, "token_missing")
    assert call(channel)(b"in", timeout=PATIENCE, metadata=bearer2(key.token())) == b"in"
    assert refused(channel, metadata=bearer2(key.token(exp=1))).code() == grpc.StatusCode.UNAUTHENTICATED


def test_over_the_limit_a_call_is_resource_exhausted(gateways, echo, channels):
    gateway = gateways(before(
        echo, limits={"few": {"rate": "1/min", "burst": 1, "per": "client"}}, defaults={"auth": "none", "limits": ["few"]}))
    channel = channels(gateway)
    assert call(channel)(b"one", timeout=PATIENCE) == b"one"
    assert refused(channel).code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert gateway.access_line(status=429)["reason"] == "rate_limited"


def test_without_a_service_a_call_is_unavailable(gateways, echo, channels):
    held = free_port()
    config = before(echo)
    config["services"]["up"]["to"] = [f"h2c://127.0.0.1:{held.getsockname()[1]}"]
    assert refused(channels(gateways(config))).code() == grpc.StatusCode.UNAVAILABLE
    held.close()


def test_without_a_route_a_call_is_unimplemented(gateways, echo, channels):
    config = before(echo)
    config["routes"][0]["match"]["prefix"] = "/other.Service"
    assert refused(channels(gateways(config))).code() == grpc.StatusCode.UNIMPLEMENTED


def test_a_service_that_does_not_answer_in_time_is_a_deadline_exceeded(gateways, echo, channels):
    config = before(echo)
    config["routes"][0]["timeouts"] = {"request": "300ms", "idle": "300ms"}
    channel = channels(gateways(config))
    with pytest.raises(grpc.RpcError) as caught:
        call(channel, "Slow")(b"", timeout=PATIENCE)
    assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert "did not answer in time" in caught.value.details()


@pytest.mark.bound(180)
def test_calls_go_on_through_reloads(gateways, echo, channels):
    """No call of thousands fails while the configuration is reloaded again and again."""
    calls, reloads = (10_000, 20) if FULL else (1_000, 5)
    config = before(echo)
    gateway = gateways(config)
    failures, done = [], []

    def work(channel, share):
        ask = call(channel)
        for number in range(share):
            try:
                if ask(b"%d" % number, timeout=PATIENCE) != b"%d" % number:
                    failures.append("another's answer")
            except grpc.RpcError as error:
                failures.append(f"{error.code()} {error.details()}")
            done.append(1)

    workers = [threading.Thread(target=work, args=(channels(gateway), calls // 4)) for _ in range(4)]
    for worker in workers:
        worker.start()
    for number in range(reloads):
        until(lambda: len(done) >= number * calls // reloads, "calls between reloads", 10 * PATIENCE)
        gateway.reload(config)
    for worker in workers:
        worker.join()
    assert failures == [] and len(done) == calls
