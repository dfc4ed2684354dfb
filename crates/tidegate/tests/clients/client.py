"""Asks a server as people's programs do: grpcio for Envoy's services, redis-py for the RESP door.

Arguments: the descriptors of the services, the gRPC address, the RESP address. The server has the example rules.
Ends with an AssertionError where an answer is another than is promised, else says at the end what was done.
"""

import sys

import grpc
import redis
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

TIMEOUT_S = 10


class Services:
    """Messages made from the descriptors, as a client without generated code makes them."""

    def __init__(self, descriptors: str, address: str) -> None:
        files = descriptor_pb2.FileDescriptorSet()
        with open(descriptors, "rb") as file:
            files.ParseFromString(file.read())
        self.pool = descriptor_pool.DescriptorPool()
        for file in files.file:
            self.pool.Add(file)
        self.channel = grpc.insecure_channel(address)

    def message(self, name: str):
        return message_factory.GetMessageClass(self.pool.FindMessageTypeByName(name))

    def method(self, service: str, name: str):
        method = self.pool.FindServiceByName(service).FindMethodByName(name)
        answer = message_factory.GetMessageClass(method.output_type)
        call = self.channel.unary_unary(
            f"/{service}/{name}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=answer.FromString,
        )
        return lambda message: call(message, timeout=TIMEOUT_S)


def rate_limit(services: Services) -> None:
    request = services.message("envoy.service.ratelimit.v3.RateLimitRequest")
    ask = services.method("envoy.service.ratelimit.v3.RateLimitService", "ShouldRateLimit")

    def said(domain: str = "default", hits: int = 1):
        message = request(domain=domain, hits_addend=hits)
        message.descriptors.add().entries.add(key="client_id", value="api_client")
        return ask(message)

    first = said()
    assert (first.overall_code, first.statuses[0].limit_remaining) == (1, 19), first
    assert first.statuses[0].current_limit.requests_per_unit == 20, first
    fields = {header.key: header.value for header in first.response_headers_to_add}
    assert fields["ratelimit-policy"] == '"api-client";q=20;w=60', fields
    assert (said(hits=19).overall_code, said(hits=20).overall_code) == (1, 2)
    try:
        said(domain="")
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.INVALID_ARGUMENT, error
        assert error.details().startswith("domain: "), error.details()
    else:
        raise AssertionError("a request without a domain was answered")


def authorization(services: Services) -> None:
    request = services.message("envoy.service.auth.v3.CheckRequest")
    check = services.method("envoy.service.auth.v3.Authorization", "Check")
    message = request()
    message.attributes.context_extensions["client_id"] = "somebody"
    for _ in range(100):
        answer = check(message)
        assert answer.status.code == 0 and answer.HasField("ok_response"), answer
    answer = check(message)
    assert answer.denied_response.status.code == 429, answer
    assert any(header.header.key == "retry-after" for header in answer.denied_response.headers), answer


def health(services: Services, address: str) -> None:
    # The health service's message: one field, a text; and one field, a number, of which 1 is SERVING.
    call = services.channel.unary_unary("/grpc.health.v1.Health/Check")
    assert call(b"", timeout=TIMEOUT_S) == b"\x08\x01", address


def resp(address: str, version: int) -> None:
    host, port = address.rsplit(":", 1)
    client = redis.Redis(
        host=host, port=int(port), protocol=version, decode_responses=True, socket_timeout=TIMEOUT_S
    )
    assert client.ping()
    key = f"redis-py-{version}"
    assert client.execute_command("CL.THROTTLE", key, 15, 30, 60) == [0, 16, 15, -1, 2]
    with client.pipeline(transaction=False) as pipeline:
        for _ in range(20):
            pipeline.execute_command("CL.THROTTLE", key, 15, 1, 86400)
        limited = [reply[0] for reply in pipeline.execute()]
    assert limited == [0] * 15 + [1] * 5, limited
    said = client.execute_command("TIDEGATE.CHECK", "default", "client_id", key, "COST", 2)
    if version == 3:
        assert (said["allowed"], said["limit"], said["remaining"]) == (True, 100, 98), said
        assert (said["retry_after_ms"], said["rule"], said["degraded"]) == (-1, "any-client", None), said
    else:
        assert said[:4] == [1, 100, 98, -1] and said[5] == "any-client", said
    try:
        client.execute_command("GET", "x")
    except redis.ResponseError as error:
        assert "unknown command 'GET'" in str(error), error
    else:
        raise AssertionError("GET was answered")
    client.close()


def main() -> None:
    descriptors, grpc_address, resp_address = sys.argv[1:]
    services = Services(descriptors, grpc_address)
    health(services, grpc_address)
    rate_limit(services)
    authorization(services)
    for version in (2, 3):
        resp(resp_address, version)
    print(f"grpcio {grpc.__version__} and redis-py {redis.__version__} were answered as promised")


main()
