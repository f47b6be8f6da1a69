"""A client that is none of ours: stock grpcio, stubs from the published .proto, other people's JWS and X.509.

Arguments: the .proto's root directory, a directory for the stubs, HOST:PORT, the vendor id, the vendor root in
PEM, the application id, the activation id, and how many machines ask. It prints the last count.
"""

import base64
import datetime
import hashlib
import importlib
import json
import secrets
import sys
import uuid

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509.verification import PolicyBuilder, Store
from grpc_tools import protoc
from jwcrypto import jwk, jws


def main(proto_root, stubs, address, vendor, root_file, application, sku, machines):
    pb2, pb2_grpc = generate(proto_root, stubs)
    host_name = f"{vendor}.host.quorate.internal"
    with open(root_file, "rb") as file:
        root_pem = file.read()
    root = x509.load_pem_x509_certificate(root_pem)
    credentials = grpc.ssl_channel_credentials(root_certificates=root_pem)
    # Whatever address is dialled, the host is asked for by its fixed name, and must prove it.
    options = [("grpc.ssl_target_name_override", host_name)]
    with grpc.secure_channel(address, credentials, options) as channel:
        stub = pb2_grpc.ActivationStub(channel)
        for number in range(1, int(machines) + 1):
            request = pb2.ActivateRequest(
                protocol_version=1,
                application_id=application,
                activation_id=sku,
                cmid=str(uuid.uuid4()),
                hardware_id=hashlib.sha256(f"python {number}".encode()).digest(),
                license_status=2,
                minutes_left=43200,
                threshold=5,
                client_time_ms=int(datetime.datetime.now(datetime.timezone.utc).timestamp() * 1000),
                machine_name=f"python-{number}",
                nonce=secrets.token_bytes(16),
            )
            answer = stub.Activate(request, timeout=10)
            response = verify(answer.response, "quorate-response+jws", root, host_name)
            check("nonce", response["nonce"], request.nonce.hex())
            check("cmid", response["cmid"], request.cmid)
            check("hardware", response["hardware"], request.hardware_id.hex())
            check("application", response["application"], application)
            check("sku", response["sku"], sku)
            check("count", response["count"], number)
            check("clone", response["clone"], False)
            # The list is the issuer's, not the host's: another role, another name.
            revocations = verify(
                answer.revocations, "quorate-revocations+jws", root, f"{vendor}.issuer.quorate.internal"
            )
            check("vendor", revocations["vendor"], vendor)
        refused(stub, pb2, request)
        tampered(answer.response, root, host_name)
    print(response["count"])


def generate(proto_root, stubs):
    """The stubs, made of the published .proto as anybody would."""
    status = protoc.main(
        ["protoc", f"-I{proto_root}", f"--python_out={stubs}", f"--grpc_python_out={stubs}"]
        + ["quorate/v1/activation.proto"]
    )
    check("protoc's exit status", status, 0)
    sys.path.insert(0, stubs)
    return (importlib.import_module(f"quorate.v1.activation_{part}") for part in ("pb2", "pb2_grpc"))


def verify(token, typ, root, name):
    """The payload of a signed document, once its chain and its signature are found good."""
    header = json.loads(decode(token.split(".")[0]))
    check("alg", header["alg"], "ES256")
    check("typ", header["typ"], typ)
    leaf, *between = [x509.load_der_x509_certificate(base64.b64decode(der)) for der in header["x5c"]]
    now = datetime.datetime.now(datetime.timezone.utc)
    policy = PolicyBuilder().store(Store([root])).time(now)
    if typ == "quorate-response+jws":
        policy.build_server_verifier(x509.DNSName(name)).verify(leaf, between)
    else:
        # No web server's certificate, as its extended key usage says: the chain is checked link by link.
        for certificate, issuer in zip([leaf, *between], [*between, root]):
            certificate.verify_directly_issued_by(issuer)
            check("valid", certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc, True)
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        check("name", names.get_values_for_type(x509.DNSName), [name])
    public = leaf.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    signed = jws.JWS()
    signed.deserialize(token)
    signed.verify(jwk.JWK.from_pem(public))
    return json.loads(signed.payload)


def refused(stub, pb2, request):
    """An error is a gRPC status that says what is wrong, with our code in its details."""
    request.nonce = b"short"
    try:
        stub.Activate(request, timeout=10)
    except grpc.RpcError as error:
        check("status", error.code(), grpc.StatusCode.INVALID_ARGUMENT)
        check("what", error.details(), "Q306: the request cannot be: nonce has 5 bytes, not 16")
        metadata = dict(error.trailing_metadata())
        detail = pb2.ErrorDetail.FromString(metadata["grpc-status-details-bin"])
        check("code", detail.code, "Q306")
        check("next", bool(detail.next), True)
    else:
        raise SystemExit("a nonce of 5 bytes was not refused")


def tampered(token, root, host_name):
    """What was changed after signing is not believed: the verification above can fail."""
    header, payload, signature = token.split(".")
    changed = decode(payload).replace(b'"count":', b'"count":1')
    token = f"{header}.{base64.urlsafe_b64encode(changed).rstrip(b'=').decode()}.{signature}"
    try:
        verify(token, "quorate-response+jws", root, host_name)
    except jws.InvalidJWSSignature:
        return
    raise SystemExit("a changed response was believed")


def decode(part):
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def check(what, is_, should_be):
    if is_ != should_be:
        raise SystemExit(f"{what} is {is_!r}, not {should_be!r}")


if __name__ == "__main__":
    main(*sys.argv[1:])
