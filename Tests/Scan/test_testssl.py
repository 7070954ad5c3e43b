"""testssl.sh looks at a listener as a stranger does: `make testssl`, where that program is installed. A minute or two."""

import json
import shutil
import subprocess

import pytest

from harness.authority import Authority
from harness.gateway import plain

PROGRAM = shutil.which("testssl") or shutil.which("testssl.sh")
# What is the test authority's doing, and no listener's: nobody trusts it, it publishes nothing, and it issues for days.
OF_THE_AUTHORITY = {
    "cert_chain_of_trust", "cert_trust", "cert_crlDistributionPoints", "cert_ocspURL", "cert_revocation",
    "cert_expirationStatus", "cert_notAfter", "cert_extlifeSpan", "cert_validityPeriod", "DNS_CAArecord",
    "certificate_transparency", "cert_keyUsage", "cert_extKeyUsage", "cert_mustStapleExtension", "cert_caIssuers",
    "intermediate_cert_badOCSP", "overall_grade", "grade_cap_reason_1", "grade_cap_reason_2", "final_score",
    "protocol_support_score", "key_exchange_score", "cipher_strength_score",
}
# What the scanner lacks, and fields that are a service's to send (CSP and its like).
OF_OTHERS = {"engine_problem", "security_headers"}
HARMLESS = {"OK", "INFO", "LOW"}


def findings(gateway, folder):
    host, port = gateway.address("https")
    file = folder / "testssl.json"
    done = subprocess.run(
        [PROGRAM, "--quiet", "--warnings", "batch", "--color", "0", "--nodns", "none",
         "--jsonfile", str(file), f"{host}:{port}"],
        stdin=subprocess.DEVNULL, capture_output=True, timeout=900, check=False)
    assert file.exists(), done.stdout.decode(errors="replace")[-2000:]
    return json.loads(file.read_text())


def plainly(finding):
    """The name of a finding without what tells several certificates apart."""
    return finding["id"].split(" ")[0].split("<")[0]


@pytest.mark.bound(1000)
@pytest.mark.skipif(PROGRAM is None, reason="testssl.sh is not installed (Debian: testssl.sh)")
def test_a_listener_shows_no_weakness(gateways, upstream, tmp_path):
    authority = Authority(tmp_path, "scan-ca")
    pairs = [authority.issue("ecdsa", "DNS:localhost,IP:127.0.0.1"),
             authority.issue("rsa", "DNS:localhost,IP:127.0.0.1", rsa=True)]
    gateway = gateways(plain(upstream, listeners={"http": None, "https": {
        "bind": ["127.0.0.1:0"], "connections": {"per_client": 10000},
        "tls": {"certificates": [{"cert": str(cert), "key": str(key)} for cert, key in pairs],
                "hsts": {"max_age": "365d"}}}}))
    found = findings(gateway, tmp_path)
    told = {plainly(finding): finding for finding in found}
    # The scan has come to its end, and has seen what it should: or an empty list would be a clean one.
    missing = {"TLS1_2", "TLS1_3", "heartbleed", "LUCKY13", "secure_renego", "HSTS_time"} - set(told)
    # Forward secrecy, as version 3.2 and as version 3.0 call it.
    assert not missing and {"FS", "PFS"} & set(told), (missing, sorted(told))
    assert told["TLS1_3"]["severity"] == "OK" and told["TLS1"]["finding"] == "not offered"
    bad = [finding for finding in found
           if finding["severity"] not in HARMLESS and plainly(finding) not in OF_THE_AUTHORITY | OF_OTHERS]
    assert bad == [], json.dumps(bad, indent=1)
