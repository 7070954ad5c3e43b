"""TLS of a listener: which certificate, tickets, files that change under it."""

import json
import os
import shutil
import socket
import ssl
import subprocess
import threading
import urllib.request

import pytest

from harness import names
from harness.authority import Authority
from harness.bound import until
from harness.gateway import plain, run
from harness.wire import Client

BOTH = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"), "edge-ca")


def pair(files):
    return {"cert": str(files[0]), "key": str(files[1])}


def secure(upstream, *certificates, admin=False, **tls):
    change = {"listeners": {"http": None, "https": {
        "bind": ["127.0.0.1:0"], "tls": {"certificates": [pair(files) for files in certificates], **tls}}}}
    if admin:
        change["admin"] = {"listen": "127.0.0.1:0"}
    return plain(upstream, **change)


def trusting(authority, *protocols, version=None):
    made = ssl.create_default_context(cafile=str(authority.cert))
    made.check_hostname = False
    if protocols:
        made.set_alpn_protocols(list(protocols))
    if version is not None:
        made.minimum_version = made.maximum_version = version
    return made


def shaken(gateway, context, name=None, session=None):
    """A connection whose handshake is done."""
    raw = socket.create_connection(gateway.address("https"), timeout=10)
    return context.wrap_socket(raw, server_hostname=name, session=session)


def common_name(wrapped):
    return dict(item[0] for item in wrapped.getpeercert()["subject"])["commonName"]


def shown(gateway, authority, name, **options):
    with shaken(gateway, trusting(authority, **options), name) as wrapped:
        return common_name(wrapped)


def get(wrapped, host="localhost", path="/"):
    wrapped.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    return int(wrapped.recv(65536).split(b" ")[1])


def metrics(gateway):
    with urllib.request.urlopen(gateway.url("/metrics", "admin"), timeout=10) as answer:
        return answer.read().decode()


def copied(files, folder, name="edge"):
    """A copy of a pair, to be changed under a gateway."""
    target = folder / f"{name}.crt", folder / f"{name}.key"
    for source, copy in zip(files, target):
        shutil.copy(source, copy)
    return target


def replace(files, target):
    """Key and certificate one after the other, as a tool for renewals writes them."""
    for source, copy in zip(files, target):
        fresh = copy.with_suffix(".new")
        shutil.copy(source, fresh)
        fresh.rename(copy)


def test_sni_chooses_among_certificates_and_kinds_of_key(gateways, upstream, authority):
    both = authority.issue("both-ecdsa", "DNS:both.test"), authority.issue("both-rsa", "DNS:both.test", rsa=True)
    wild = authority.issue("wild", "DNS:*.wild.test")
    exact = authority.issue("exact", "DNS:a.wild.test")
    gateway = gateways(secure(upstream, *both, wild, exact))
    for version in BOTH:
        assert shown(gateway, authority, "b.wild.test", version=version) == "wild"
        assert shown(gateway, authority, "a.wild.test", version=version) == "exact"
        assert shown(gateway, authority, "x.a.wild.test", version=version) == "both-ecdsa"
        assert shown(gateway, authority, None, version=version) == "both-ecdsa"
    # Another implementation of the choice: the command line client says what it can verify.
    for signatures, expected in (("RSA-PSS+SHA256:RSA+SHA256", "both-rsa"), ("ECDSA+SHA256", "both-ecdsa")):
        host, port = gateway.address("https")
        done = subprocess.run(
            ["openssl", "s_client", "-connect", f"{host}:{port}", "-servername", "both.test", "-sigalgs", signatures],
            input=b"", capture_output=True, timeout=20, check=False)
        assert f"CN = {expected}".encode() in done.stdout, done.stdout


def test_a_strict_listener_knows_its_names_alone(gateways, upstream, authority):
    gateway = gateways(secure(upstream, authority.issue("strict", "DNS:strict.test"), strict_sni=True))
    for version in BOTH:
        assert shown(gateway, authority, "strict.test", version=version) == "strict"
        for name in ("other.test", None):
            with pytest.raises(ssl.SSLError, match="(?i)unrecognized.name"):
                shown(gateway, authority, name, version=version)


def test_certificates_that_cannot_go_together_are_told_at_their_place(upstream, authority, tmp_path):
    first = authority.issue("first", "DNS:a.test,DNS:b.test")
    second = authority.issue("second", "DNS:b.test")
    file = tmp_path / "gatehouse.yaml"
    file.write_text(json.dumps(secure(upstream, first, second), indent=1))
    status, _, errors = run("check", str(file))
    assert status != 0
    assert "second.crt" in errors and "'b.test'" in errors and "ECDSA" in errors and f"{file}:" in errors


def test_a_changed_certificate_is_served_without_touching_connections(gateways, upstream, authority, tmp_path):
    """A swap under load: nothing fails, what is open goes on, and a pair that does not fit is not taken."""
    old, new = authority.issue("old", "DNS:swap.test"), authority.issue("new", "DNS:swap.test")
    served = copied(old, tmp_path)
    gateway = gateways(secure(upstream, served, admin=True))
    held = shaken(gateway, trusting(authority), "swap.test")
    assert get(held, "swap.test") == 200
    seen, failures, stop = set(), [], threading.Event()

    def load():
        context = trusting(authority)
        while not stop.is_set():
            try:
                with shaken(gateway, context, "swap.test") as wrapped:
                    seen.add(common_name(wrapped))
                    if get(wrapped, "swap.test") != 200:
                        failures.append("status")
            except (OSError, ssl.SSLError, IndexError) as error:
                failures.append(repr(error))

    threads = [threading.Thread(target=load) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        # The certificate alone: its key is still the old one.
        replace(new[:1], served[:1])
        refused = gateway.event("tls_file_refused")
        assert refused["file"] == str(served[1]) and "does not belong" in refused["reason"]
        assert refused["level"] == "error" and shown(gateway, authority, "swap.test") == "old"
        replace(new[1:], served[1:])
        gateway.event("tls_files_read", listener="https")
        until(lambda: shown(gateway, authority, "swap.test") == "new", "every worker has the new certificate")
        until(lambda: "new" in seen, "the load sees it")
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert failures == [] and seen == {"old", "new"}
    assert get(held, "swap.test") == 200 and common_name(held) == "old"
    held.close()


def test_a_reload_keeps_all_where_a_key_does_not_fit(gateways, upstream, authority, tmp_path):
    files, other = authority.issue("kept", "DNS:kept.test"), authority.issue("foreign", "DNS:kept.test")
    served = copied(files, tmp_path)
    config = secure(upstream, served)
    gateway = gateways(config)
    shutil.copy(other[1], served[1])
    event = gateway.reload(config, good=False)
    assert str(served[1]) in event["reason"] and "does not belong" in event["reason"]
    assert shown(gateway, authority, "kept.test") == "kept"


def test_the_end_of_a_certificate_is_measured_and_warned_of(gateways, upstream, authority):
    soon, late = authority.issue("soon", "DNS:soon.test", days=20), authority.issue("late", "DNS:late.test", days=90)
    gateway = gateways(secure(upstream, soon, late, admin=True))
    warning = gateway.event("certificate_expires")
    assert warning["file"] == str(soon[0]) and warning["level"] == "warning" and warning["days_left"] in ("19", "20")
    text = metrics(gateway)
    for files, days in ((soon, 20), (late, 90)):
        label = f'gatehouse_certificate_expiry_seconds{{listener="https",file="{files[0]}"}} '
        seconds = int(text.split(label)[1].split("\n")[0])
        assert days * 86400 - 120 < seconds <= days * 86400
    assert all(event.get("file") != str(late[0]) for event in gateway.events.all)


def resumed(gateway, context, session, name="ticket.test"):
    """One more handshake with a session: whether it was resumed, and the session that came of it."""
    with shaken(gateway, context, name, session) as wrapped:
        assert get(wrapped, name) == 200
        return wrapped.session_reused, wrapped.session


@pytest.mark.parametrize("version", BOTH)
def test_sessions_are_resumed_by_every_worker(gateways, upstream, authority, version):
    """At least 99 of 100 of 200 handshakes, each a connection of its own that any worker may get."""
    config = secure(upstream, authority.issue("ticket", "DNS:ticket.test"))
    gateway = gateways({**config, "workers": 4})
    context = trusting(authority, version=version)
    is_resumed, session = resumed(gateway, context, None)
    assert not is_resumed
    count = 0
    for _ in range(200):
        is_resumed, session = resumed(gateway, context, session)
        count += is_resumed
    assert count >= 198, count


@pytest.mark.parametrize("version", BOTH)
@pytest.mark.parametrize("size", [48, 80])
def test_machines_with_one_key_file_resume_each_others_sessions(
        gateways, upstream, authority, tmp_path, version, size):
    keys = tmp_path / "ticket.key"
    first, second = os.urandom(size), os.urandom(size)
    keys.write_bytes(first)
    config = secure(upstream, authority.issue("ticket", "DNS:ticket.test"), session_tickets={"key_file": str(keys)})
    here, there = gateways(config), gateways(config)
    context = trusting(authority, version=version)
    _, session = resumed(here, context, None)
    is_resumed, session = resumed(there, context, session)
    assert is_resumed
    # A new key before the old one, on both: what is out is still good.
    marks = [len(gateway.events.all) for gateway in (here, there)]
    fresh = keys.with_suffix(".new")
    fresh.write_bytes(second + first)
    fresh.rename(keys)
    for gateway, mark in zip((here, there), marks):
        gateway.event("tls_files_read", start=mark)
    is_resumed, session = resumed(here, context, session)
    assert is_resumed
    # Half a key changes nothing.
    keys.write_bytes(second[:30])
    refused = there.event("tls_file_refused")
    assert refused["file"] == str(keys) and "30 bytes" in refused["reason"]
    is_resumed, _ = resumed(there, context, session)
    assert is_resumed


def ocsp_response(authority, folder, cert, days, status="V"):
    """What the openssl responder says of a certificate."""
    def openssl(*arguments):
        return subprocess.run(["openssl", *arguments], capture_output=True, timeout=60, check=True, cwd=folder).stdout
    serial = openssl("x509", "-in", str(cert), "-noout", "-serial").decode().strip().split("=")[1]
    since = "260101000000Z" if status == "R" else ""
    (folder / "index.txt").write_text(f"{status}\t301231000000Z\t{since}\t{serial}\tunknown\t/CN=x\n")
    openssl("ocsp", "-issuer", str(authority.cert), "-cert", str(cert), "-reqout", "request.der")
    openssl("ocsp", "-index", "index.txt", "-CA", str(authority.cert), "-rsigner", str(authority.cert), "-rkey",
            str(authority.key), "-reqin", "request.der", "-ndays", str(days), "-respout", "response.der")
    return (folder / "response.der").read_bytes()


def stapled(gateway, name, *options):
    host, port = gateway.address("https")
    done = subprocess.run(["openssl", "s_client", "-connect", f"{host}:{port}", "-servername", name, "-status",
                           *options],
                          input=b"", capture_output=True, timeout=20, check=False)
    return b"Cert Status: good" in done.stdout


def test_certificates_of_both_kinds_are_stapled_each_with_its_response(gateways, upstream, authority, tmp_path):
    pairs, files = [authority.issue("both-ec", "DNS:both.test"), authority.issue("both-rsa", "DNS:both.test", rsa=True)], []
    for number, (cert, _) in enumerate(pairs):
        files.append(tmp_path / f"{number}.ocsp")
        files[-1].write_bytes(ocsp_response(authority, tmp_path, cert, 1))
    gateway = gateways(secure(upstream, *pairs, ocsp_stapling={"files": [str(file) for file in files]}))
    kinds = [("-sigalgs", "ECDSA+SHA256"), ("-sigalgs", "RSA-PSS+SHA256")]
    assert all(stapled(gateway, "both.test", *kind) for kind in kinds)
    # One that is no more says nothing against the other; two about one certificate are told.
    mark = len(gateway.events.all)
    files[0].write_bytes(files[1].read_bytes())
    event = gateway.event("ocsp_not_stapled", start=mark)
    assert event["file"] == str(files[1]) and str(files[0]) in event["reason"]
    until(lambda: not stapled(gateway, "both.test", *kinds[0]), "no worker staples it")
    assert stapled(gateway, "both.test", *kinds[1])


def test_an_ocsp_response_is_stapled_as_long_as_it_holds(gateways, upstream, authority, tmp_path):
    files, other = authority.issue("stapled", "DNS:stapled.test"), authority.issue("bare", "DNS:bare.test")
    file = tmp_path / "edge.ocsp"
    file.write_bytes(ocsp_response(authority, tmp_path, files[0], 1))
    gateway = gateways(secure(upstream, files, other, ocsp_stapling={"file": str(file)}))
    assert stapled(gateway, "stapled.test") and not stapled(gateway, "bare.test")
    # About another certificate, or not good: said, and left out.
    for bad, reason in ((ocsp_response(authority, tmp_path, authority.cert, 1), "none of this listener's"),
                        (ocsp_response(authority, tmp_path, files[0], 1, "R"), "does not say that"),
                        (b"garbage", "not an OCSP response")):
        mark = len(gateway.events.all)
        file.write_bytes(bad)
        event = gateway.event("ocsp_not_stapled", start=mark)
        assert event["file"] == str(file) and reason in event["reason"]
        gateway.event("tls_files_read", start=mark)
        until(lambda: not stapled(gateway, "stapled.test"), "no worker staples it")
    file.write_bytes(ocsp_response(authority, tmp_path, files[0], 1))
    until(lambda: stapled(gateway, "stapled.test"), "a good one is stapled again")


def test_what_is_stapled_is_about_the_certificate_that_is_served(gateways, upstream, authority, tmp_path):
    """A renewal that is refused as a whole takes its response with it."""
    first, second = authority.issue("alone", "DNS:alone.test"), authority.issue("beside", "DNS:beside.test")
    # A good pair, for a name that the first certificate has already.
    wrong = authority.issue("wrong", "DNS:alone.test")
    served, file = copied(second, tmp_path), tmp_path / "edge.ocsp"
    file.write_bytes(ocsp_response(authority, tmp_path, second[0], 1))
    response = ocsp_response(authority, tmp_path, wrong[0], 1)
    gateway = gateways(secure(upstream, first, served, ocsp_stapling={"file": str(file)}))
    assert stapled(gateway, "beside.test")
    replace(wrong, served)
    file.write_bytes(response)
    gateway.event("tls_file_refused", file=str(served[0]))
    event = gateway.event("ocsp_not_stapled", file=str(file))
    assert "none of this listener's" in event["reason"]
    until(lambda: not stapled(gateway, "beside.test"), "no worker staples it")
    assert shown(gateway, authority, "beside.test") == "beside"
