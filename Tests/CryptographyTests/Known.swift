import Cryptography
import Memory
import Testing

/// Keys and a signature that other code made.
enum Known {
    /// RFC 7515 A.2: the modulus, what was signed, and the signature.
    static let modulus = decoded(
        """
        ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4Ql\
        L-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUs\
        LA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoud\
        F8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ
        """)
    static let signed = Array(
        """
        eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9\
        pc19yb290Ijp0cnVlfQ
        """.utf8)
    static let signature = decoded(
        """
        cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujG\
        bds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K\
        0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6\
        LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw
        """)
    static let exponent: [UInt8] = [1, 0, 1]

    /// `openssl genrsa 1024 | openssl rsa -pubout`
    static let pem1024 = """
        -----BEGIN PUBLIC KEY-----
        MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQC/ghaYAGEOaE1mrmKSEDcarSN1
        2A0SKXaDnQO/XoxDuBqf/dshE4EyNm79pep4yeuKHli06CQJcb4yqOOU2n5pl7Z0
        H4AAytiDnRnbnqD/vJqogpONfHqlIgSH+2b0ZEWXrJ//uKY9Wesm4ggfyzcsMkyI
        Kpnpo/EJcdcRU5qHlwIDAQAB
        -----END PUBLIC KEY-----
        """
    /// `openssl genrsa 2048 | openssl rsa -RSAPublicKey_out`
    static let pemPKCS1 = """
        -----BEGIN RSA PUBLIC KEY-----
        MIIBCgKCAQEAmupU4nfcKJSttJIFKp+w6iDXVTbA4jkpWYjxu97a7WzZ8/DUnP3k
        0a+ABI/1qgsbcTjYpfHgga/mp9c1bsNId3X7O4gRcGO95skkdu6pAFuZMj2Io1hL
        16bnOiQyH198LilWW3DFywCoCxC1UDe1r//L3uaMjwosdBluOPTG475trz5UDDYi
        MhrWaJFsj0g3Z7PCysQHBixgnSk/DwwJS+Ns8eJKKVqwxBKPMk+2qeo4FsdJfnOb
        rAHEd15LHB2GLVrpA8yC2ebgF9AyF94ZkahPWHEGhWgaBdVee2XibqPwL08KO7Kt
        hHFUNqiIM2ot3Ox/K6Dqv3Imx5/8FjxNdwIDAQAB
        -----END RSA PUBLIC KEY-----
        """
    /// `openssl ecparam -name prime256v1 -genkey | openssl ec -pubout`
    static let pemEC = """
        -----BEGIN PUBLIC KEY-----
        MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEyMAwRIpC/Yqg33tgBEa8QlRh/njL
        vo+NN2nLO8CVgzn5ZfvRh1/0MWqbX2M0ncpr+voOXo387kKG2ARV41DwaQ==
        -----END PUBLIC KEY-----
        """
    /// `openssl genpkey -algorithm ed25519 | openssl pkey -pubout`
    static let pemEd25519 = """
        -----BEGIN PUBLIC KEY-----
        MCowBQYDK2VwAyEAQmcDzAxzlNtKmGzIx7ywe+9s+bHrexdRyMTjLs69kmE=
        -----END PUBLIC KEY-----
        """
    /// `openssl ecparam -name secp384r1 -genkey | openssl ec -pubout`
    static let pemP384 = """
        -----BEGIN PUBLIC KEY-----
        MHYwEAYHKoZIzj0CAQYFK4EEACIDYgAEizsb8xyheiuIOGGGS1G1F0YXE4d0i7Vc
        +Fi37ZUzIQp90but5eFAiKyig+PVJLOZEFZm5SRmHpCqu3avwZPxmQTZsuGn6Wny
        GtV/l8n7/OfR3wZry/QfPXl9bh6aQvq+
        -----END PUBLIC KEY-----
        """
    /// `openssl genpkey -algorithm x25519 | openssl pkey -pubout`
    static let pemX25519 = """
        -----BEGIN PUBLIC KEY-----
        MCowBQYDK2VuAyEAT8Fex2DvLvb9BVf+i/nNnQPIVtP09RJmeIEksCajbD4=
        -----END PUBLIC KEY-----
        """
    /// `openssl genpkey -algorithm RSA-PSS | openssl pkey -pubout`
    static let pemPSS = """
        -----BEGIN PUBLIC KEY-----
        MIIBIDALBgkqhkiG9w0BAQoDggEPADCCAQoCggEBANCpOQjeUtvKaAjAqbapOgVr
        kZcauUGPBtekGDY/eKEzfbfHQyeVVXyIsimX7iEJ2ftaxmXIwl+QdP5oZSPi7hQG
        Hn8NYmU3csrFE6U0k/E5iHAoQm41RD2v1ACLm6rkRYd3XJ8faWDZcvoRQDpjY1MB
        CDLINsvP9OZcDGvRpcoWHZVmxCqu7yWfcz5/thou6LsDA2Wov9Io4BOdgh3sxsLy
        gi+fIEq4Cj31tf41ze9NAVfXtHhQlTFflqro2yvygQ9ONqWhCz0MwppbD0Qq5d6S
        F9PBytS3rxhe1LqE/HTCLcMrl/4qSH3L9/Cl9dAEjMkCR5BDgOJG7nCPHMdZGqkC
        AwEAAQ==
        -----END PUBLIC KEY-----
        """
    /// `openssl prime -generate -bits 2048`
    static let prime = decoded(
        """
        0FZRYUjlJqBtWg2UEDPHmD5ITrQFYk8IVVCuxmGFUcbajRF5zMdwbgvoC0YcgO5H7t1azE1eu4eX-jw9d95tfpqDNEOewMpC\
        XysU-Jb4DaPNyZoPl0BWMYcaV-IcPuEZZvVPvC6BFjK5oMNxO9qmM7fsLvbHPaDSUnpa8wfnU9gVmsKF5T6WAcdiaHMExm3L\
        e9xayaz5KCphNJ_K6oefUwpGSi_ePVCEA2qDwy_24Z6X1rFLIzOBfJ-Uoc9HrIx5fCExioDGppANMgkKyL28GQ_y_hRQO-lp\
        8LVL-yzP83WrZtiRJSppxJjBEm8DHcm0wpTNHC-0UPefCmhzERq4Hw
        """)

    static func decoded(_ text: String) -> [UInt8] {
        let bytes = Array(text.utf8)
        var target = FixedBytes(count: bytes.count)
        guard let count = Base64URL.decode(bytes.rawSpan, into: &target, at: 0) else {
            Issue.record("not base64url: \(text)")
            return []
        }
        return target.bytes(0..<count).array
    }
}
