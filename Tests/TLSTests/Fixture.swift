import TLS

/// Certificates for tests alone, valid until 2126: `openssl req -x509 -new -days 36500`. Their keys guard nothing.
enum Fixture {
    /// P-256, for localhost.
    static let localhostChain = Array(
        """
        -----BEGIN CERTIFICATE-----
        MIIBlTCCATugAwIBAgIUJP9qt0Hi30mbBUOkTf7w5HAH9eowCgYIKoZIzj0EAwIw
        FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyMTAyNDk1MloYDzIxMjYxMDI4
        MDI0OTUyWjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjO
        PQMBBwNCAAQv2S9vlaFu2Z/PVovM7R91gkOXWrfAEDDhj3kZGRABaSaGFsjTMcoY
        N/lbcKE8QNcZ0VTUNXrd/7LMK2Xu/X1xo2kwZzAdBgNVHQ4EFgQU6ulRRukEpad5
        +1WR+dhgGI35K3YwHwYDVR0jBBgwFoAU6ulRRukEpad5+1WR+dhgGI35K3YwDwYD
        VR0TAQH/BAUwAwEB/zAUBgNVHREEDTALgglsb2NhbGhvc3QwCgYIKoZIzj0EAwID
        SAAwRQIgSXosbhVVzSxopKxGWnZ1+u8o6kq74yV31hUzf1e4sssCIQCtC6LGR9cI
        tCXwaVLjREoZDQrZJGYZI3BjAY5ic/A0xg==
        -----END CERTIFICATE-----

        """.utf8)
    static let localhostKey = Array(
        """
        -----BEGIN PRIVATE KEY-----
        MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgV4RA0yy9ZzT6kr7e
        WaVDQyLbf6NKosmc5537s8uISv2hRANCAAQv2S9vlaFu2Z/PVovM7R91gkOXWrfA
        EDDhj3kZGRABaSaGFsjTMcoYN/lbcKE8QNcZ0VTUNXrd/7LMK2Xu/X1x
        -----END PRIVATE KEY-----

        """.utf8)
    static let localhost = TLSCertificate(chain: localhostChain, key: localhostKey)

    /// P-256, for *.example.com.
    static let exampleChain = Array(
        """
        -----BEGIN CERTIFICATE-----
        MIIBljCCATugAwIBAgIUQf5qIuP3ugskZkjSX40lQsFpSHEwCgYIKoZIzj0EAwIw
        EjEQMA4GA1UEAwwHZXhhbXBsZTAgFw0yNjExMjEwMjQ5NTJaGA8yMTI2MTAyODAy
        NDk1MlowEjEQMA4GA1UEAwwHZXhhbXBsZTBZMBMGByqGSM49AgEGCCqGSM49AwEH
        A0IABA5z2lvNoAb0oLGwdoDN+hA5B7eG/BdIpPz8KYLqsPEsoGiRme3SWJlTJgHu
        khxMDVPuaAGrLu3AEzxv/vy5o5WjbTBrMB0GA1UdDgQWBBQQUiYjiN/0u2NUN6Fu
        CjtDF7LhgjAfBgNVHSMEGDAWgBQQUiYjiN/0u2NUN6FuCjtDF7LhgjAPBgNVHRMB
        Af8EBTADAQH/MBgGA1UdEQQRMA+CDSouZXhhbXBsZS5jb20wCgYIKoZIzj0EAwID
        SQAwRgIhAPPEuQ3aj7as+DWphJ0G/xu0JQ7guGsRn4B4q8PabvpPAiEAiC3/EtXg
        tmwQr2vjABRJ8aat5ooEFd04+Pf4XOMQNao=
        -----END CERTIFICATE-----

        """.utf8)
    static let exampleKey = Array(
        """
        -----BEGIN PRIVATE KEY-----
        MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgymB2zlMpusDrULbI
        mjwhyE0EE+gtpmoeCcNKSJ+/YyOhRANCAAQOc9pbzaAG9KCxsHaAzfoQOQe3hvwX
        SKT8/CmC6rDxLKBokZnt0liZUyYB7pIcTA1T7mgBqy7twBM8b/78uaOV
        -----END PRIVATE KEY-----

        """.utf8)
    static let example = TLSCertificate(chain: exampleChain, key: exampleKey)

    /// RSA 2048, for rsa.test.
    static let rsaChain = Array(
        """
        -----BEGIN CERTIFICATE-----
        MIIDHjCCAgagAwIBAgIUEQIorF/TaHIIOaN7d5OwXqISt+wwDQYJKoZIhvcNAQEL
        BQAwEzERMA8GA1UEAwwIcnNhLnRlc3QwIBcNMjYxMTIxMDI0OTUyWhgPMjEyNjEw
        MjgwMjQ5NTJaMBMxETAPBgNVBAMMCHJzYS50ZXN0MIIBIjANBgkqhkiG9w0BAQEF
        AAOCAQ8AMIIBCgKCAQEAt9GfKo4Q57kd9wL1jotTuEj6ddB2tOSiTFU9wjkmSnEA
        eSYtx8GuVNulJ9y/YPp1tXkJOciddWYwi3yEsjgToqd71gGp/Dd4IYb7blMhyUoU
        KOdvoFq4lTep9e7fKajqn09GEVKd6skKkAuFrHEibrs6d8ol2ZplZ8f4XVG8YBP6
        05v4ARnB0HrPTxtHmnylKBEIZGFoMbsIo8O0bhU9SIxqjcNkGDE70cE9mf9nBfmM
        KFOB/TcUCoTNxtTJVmxT7pflv+Qv2xnI8j2kP2ebEs6uKJGaxCAlahhON9sREycW
        FZXgnhtHM6x3U9HBmwtDal4PCd3m+m23b+GLZDUa6wIDAQABo2gwZjAdBgNVHQ4E
        FgQUb9aAkSDUIRaDh8Hs2HzUq6XSxB4wHwYDVR0jBBgwFoAUb9aAkSDUIRaDh8Hs
        2HzUq6XSxB4wDwYDVR0TAQH/BAUwAwEB/zATBgNVHREEDDAKgghyc2EudGVzdDAN
        BgkqhkiG9w0BAQsFAAOCAQEAjxNPMLygNrB3K4Fc/XKgb9wDyeiU5+Stb1rhMcmi
        z5D4x1KM+5MRAMSdRAn8f2JWJIBfS/R/gthFcQW2em/kY4lwpfmvz5LsCC5eyMnw
        uRPQ013Y9dBYamTv4fBslM+OHe1chaeIbHyNKSNoOl+GqNTZPwmDcfOVRTxNIw1M
        y2WiRwh9gNEGQ1VAN5/DhNnQxeUulSdUWYscqu5dGWdUivXdPUuLzyCk9prZwegJ
        vGbpkkHSEVlMYADV7PD7XokuK7QihJBV0huj7xjfCbko0vXd5Eb+44lPh7d7mPuH
        l41qXCeNTlSfyc4u47s3og9nP8Cl2XkkumbevgelpNGj8A==
        -----END CERTIFICATE-----

        """.utf8)
    static let rsaKey = Array(
        """
        -----BEGIN PRIVATE KEY-----
        MIIEvgIBADANBgkqhkiG9w0BAQEFAASCBKgwggSkAgEAAoIBAQC30Z8qjhDnuR33
        AvWOi1O4SPp10Ha05KJMVT3COSZKcQB5Ji3Hwa5U26Un3L9g+nW1eQk5yJ11ZjCL
        fISyOBOip3vWAan8N3ghhvtuUyHJShQo52+gWriVN6n17t8pqOqfT0YRUp3qyQqQ
        C4WscSJuuzp3yiXZmmVnx/hdUbxgE/rTm/gBGcHQes9PG0eafKUoEQhkYWgxuwij
        w7RuFT1IjGqNw2QYMTvRwT2Z/2cF+YwoU4H9NxQKhM3G1MlWbFPul+W/5C/bGcjy
        PaQ/Z5sSzq4okZrEICVqGE432xETJxYVleCeG0czrHdT0cGbC0NqXg8J3eb6bbdv
        4YtkNRrrAgMBAAECggEADY4gPNJKzdkOrCCkPLWVNWbwTVAo83r+uulNoMJ3yo/d
        tzwJA+I0+bNUJls2zlnPOf7UdCs77U8yr5PoRyovzH6po6TuGkLO5uNeLDW7gpf7
        YkQlglTeUrv5mmtZ5T0Rxttg2+B/SQk38FphKk+8zcnxwalUXuEYru1bU9ULXVGh
        Ld7BEB1M2YbMTPvL5FbyBFok/QViHzw8Wj8Jf6BqzsuRNp8I+z60hI/K4ubZ4X9u
        8RnigKsth/oY3XYDOFcT4AzgDqZTccr/DrWWkx9ROHPZb9bIS6AaT+ixrfrao7Wi
        rkkeqWnHm0eifv+XTwJ+BvPIUNfg6krMEKVYqJYSdQKBgQDhrTQUYexXNPsea1ug
        wE5lcl/fdc2IgwgJ+8njz9AyU3zWRJaluW4v06QlnSL+ypvwLw/uPgfjGvDExNm8
        bCXRVJb+l/0WdJhb2myd8RDsixrwhryKViaBZBRD0TkIxEkR0MDsRlIDzWjbgC6C
        ZS6I6JscdyhVIcf1ilts689T1QKBgQDQhJnBjP02+EmOEF8eZEsibXCbA41XiCcV
        udm+5Al2daDKOhCcUAjv3lmUm//vi6TrlldLZPlYKVhc5uI3EfhiWmYJWy0PYfHC
        UkDiY6yJ1VhWGWTURKwIXhsxbmr6/cfT4A5ngAeS41wnrALBSL+DWW8moMoMBg8S
        QbB2SDnTvwKBgQCvak8J7NelLYRoL7DIMdJ+HjoRWuMI0jjkcbeLAVRmWei2MBgc
        9xaDzHFR32N9QwWU2y/50nOU/rLZb92DDVkT7jlz6bYKx1RKSWyWE/RAuRuWjFRu
        /untN1pdIHrBqrjVRTtALKTBWd/AhlEgf/984bj3llNeYOSpogLQljbQhQKBgQDP
        6qh1+mOyoDiX03NFFrRki8OwjgYttbFjVIHueeuFlxzRCLzvYE7I/2lLaZH2BcRY
        tPwuTWzjn7ZgTEhcqSqGx6Tex29S21L5dJMGKmUsuvLuRzvm/OKdJVjwHS3HP641
        ckBqq5rhuJt3Y2kL2cI88ryGQ+Wzv4bfqWiPSM2AeQKBgFwx484KteoVGjDgh3EP
        JyHgvPSHEP98z+ZlJQzKYFM/LAwtUBnq1o2RsQtSEVH9DWiHmLGa2OoLVh5PS2or
        7Mt/u7ViT+a2RX6+Z+OQfug76CRv23Yg44JFFT3jpBpH5uvEZOfT4CsOw38AXfwT
        h3cDk+JNhQCo9c9ciS6ECC/9
        -----END PRIVATE KEY-----

        """.utf8)
    static let rsa = TLSCertificate(chain: rsaChain, key: rsaKey)

    /// RSA 1024: too small for anybody today.
    static let weakChain = Array(
        """
        -----BEGIN CERTIFICATE-----
        MIIB/DCCAWWgAwIBAgIUOiQfnUZi/4zwjh+wSgP5C9Q7SxowDQYJKoZIhvcNAQEL
        BQAwDzENMAsGA1UEAwwEd2VhazAgFw0yNjExMjEwMjQ5NTJaGA8yMTI2MTAyODAy
        NDk1MlowDzENMAsGA1UEAwwEd2VhazCBnzANBgkqhkiG9w0BAQEFAAOBjQAwgYkC
        gYEAu0/j1PbKkdzLEyNjTLoiyreLfk06wTMPky/w3SSF1DE01yJUoMs9TnNQr5Il
        4VpzOerKvufvF1z18UpyT8+f2jfPaYxa0Yfpre2YGP+cPMDClQiUHC8GDRtqUGVK
        Uo0Kmm+6yLYg6Zbtn/H94HUdxYgGCA4u/hb6DG5zhXjGNdMCAwEAAaNTMFEwHQYD
        VR0OBBYEFIBEMyTk5O74npiU7uanbTLWutayMB8GA1UdIwQYMBaAFIBEMyTk5O74
        npiU7uanbTLWutayMA8GA1UdEwEB/wQFMAMBAf8wDQYJKoZIhvcNAQELBQADgYEA
        FzU1UFylZjFRABCNod+sYOkBwtmgx5ACwhUifiYlTKW/g1CHX2bSZX1wjzD7YpPB
        X0GiJ8xBnXq6j5KtJ7ZsN0gLPFU+tqTtyMunSe3MhtBaVmXJ28veEmLarHveXqBA
        HikNNlWOi9yBAHlMbkPw5gR4aAH5cfe1jewJJGd2eUQ=
        -----END CERTIFICATE-----

        """.utf8)
    static let weakKey = Array(
        """
        -----BEGIN PRIVATE KEY-----
        MIICdgIBADANBgkqhkiG9w0BAQEFAASCAmAwggJcAgEAAoGBALtP49T2ypHcyxMj
        Y0y6Isq3i35NOsEzD5Mv8N0khdQxNNciVKDLPU5zUK+SJeFacznqyr7n7xdc9fFK
        ck/Pn9o3z2mMWtGH6a3tmBj/nDzAwpUIlBwvBg0balBlSlKNCppvusi2IOmW7Z/x
        /eB1HcWIBggOLv4W+gxuc4V4xjXTAgMBAAECgYB2rK0alqnNNGhtXbRiPmQgr51v
        jhq1oVYy2OLwGV25DNv/mb6oiVv0QldShXP+jUIH5dxCi8wNr1YbZCF8s30AvOZj
        rpwEon9qcB7AeGaxfV7kd4Cjs9wXGN21fjYhSJYl1Tqym1JZP21M0ZqI5YhqOpYD
        qnWEP1qPNZUs99ohUQJBAOlIHTJGSPJguIweKRMJ5uZ8I2WLJk+lbvtEYUSoMX+a
        7BQJirZEnJkDD69NIG4HN9ZB+4ipgq2U17HQn9SYfk0CQQDNjbgRVIwlAPGik189
        VM4m0o9W34JXlFbr7BaJiKtJ70pCrqQyddcsHc8Rbs1FQ6k8Oh1pb9ZPIC/dhS0n
        WNSfAkEAlL/sBgu1JgAwjQAKVt6AgkVz2KLy6eRmMQg4MaxB68kgceJntbNoW1UN
        Yk1+uUoW+6MVPd5AumhnZTXPRKN8HQJAPlfeXPs8qjh4ESwLdcmT4Ph52wpdOPzX
        xCRNzZbzBLCb4E+ho2BUS6Aa3pmxjnFwEcE6jHEMGeGUQuaShF2P1wJAeKlD6WwD
        TKpPfnvSxi29pmSPkRrpRSTNeg6/qyDKkxYkzNiTM4dteW2Qtqx3aar86KhL8TNi
        4DHB+v49Rq2o7w==
        -----END PRIVATE KEY-----

        """.utf8)
    static let weak = TLSCertificate(chain: weakChain, key: weakKey)

    /// The key of `localhost` behind a passphrase.
    static let encryptedKey = Array(
        """
        -----BEGIN ENCRYPTED PRIVATE KEY-----
        MIHsMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAijE6pz96+X9AICA+gw
        DAYIKoZIhvcNAgkFADAdBglghkgBZQMEASoEEFMjZVgUs0KjMy7WiwGKtOoEgZBD
        xI+Nu+rCpeP4quE9uYTXV+ZwYOD2x/nvKeRkRfxdVfH0o5IwqXgUbYKAz4W+7E/3
        w7fB5/paKgBCStvak1BS5IghekqzaxQllcnRALqUOyHsa28N2fQxtjrsm7Qhe8H0
        BRBJfEm5kPUYfB2/jH7dtA3qoccoDg+XWPEma+lErWv9s5gOv/pAJbDepRECUTM=
        -----END ENCRYPTED PRIVATE KEY-----

        """.utf8)
}
