import TLS

/// More certificates for tests alone, made by the openssl command; their keys guard nothing.
extension Fixture {
    /// RSA, for the name of `localhost` too.
    static let localhostRSA = TLSCertificate(chain: localhostRSAChain, key: localhostRSAKey)
    static let localhostRSAChain = Array(
        """
        -----BEGIN CERTIFICATE-----
        MIIDKTCCAhGgAwIBAgIUMgGiz3r8tQiqdM3IvuCcx3/rYpswDQYJKoZIhvcNAQEL
        BQAwGDEWMBQGA1UEAwwNbG9jYWxob3N0LXJzYTAgFw0yNjExMjYyMTMyNThaGA8y
        MTI2MTEwMjIxMzI1OFowGDEWMBQGA1UEAwwNbG9jYWxob3N0LXJzYTCCASIwDQYJ
        KoZIhvcNAQEBBQADggEPADCCAQoCggEBAKvsRytPh+2t28Ps8yV6sC45UQ/UrPIa
        6obPI5eeAG5Z6Dx5J5m1d1kdwpoXB/NfEchakP5j+WF+jS+GyQfP5DOTELSEvjht
        oVmQQp27UTU+xTHWcAAWhAwcb0PAYyjSAw21GWK9R6Z8z9duQcClGDmyVIxpfqDg
        VWLxXphrN+Bmj1HfDnHobEfaS02ZH2zDd4ASNtgeqQpKTHdgOytfeptj2UOKCG++
        a9RHu3rPnEhOeZJkMaDbK4ZVlAGNAPj6MroUYJ3780x96u1JctRlDAK427rqtZOF
        CbBBnH4JN+9pSs6O7vOnaOpszWaPC6OeEPiW+VbwVfquVtxPSCtzQEcCAwEAAaNp
        MGcwHQYDVR0OBBYEFBWvgjAKZuH6/eo/uSNWyOwR3y72MB8GA1UdIwQYMBaAFBWv
        gjAKZuH6/eo/uSNWyOwR3y72MA8GA1UdEwEB/wQFMAMBAf8wFAYDVR0RBA0wC4IJ
        bG9jYWxob3N0MA0GCSqGSIb3DQEBCwUAA4IBAQBpct0qUcgxO+XB5R4SeEq1tjfS
        7N1a0/SNR27JnsR3+L4BiZzbuA697pXXKA0xM9iOfOOEybTLgY4E5tFpItpKNfEH
        sOk9Asm/taJung0k9oXsFiZYH7SmaUTCyFRxdkSz3Lim2Ui+50iD2gslNRPQy4D/
        Z0Frj1/Xno9hfCR/umhKdsqYuoCF2gD6xMxNZVvfm1BC+Ug+ALVkGbj7xHwRjRhZ
        ccXJDnbTmJBY4WjhjdsnRs9oGbNdFV+lMJNGpi3NE+rdHkbMUwrdv4oz7CBDqXHU
        dnL9V3b55Xh+55kFW1JmGyUulQC6GQkPYOQAXPk0FNU4LxXqRlr7QhHQLI2Y
        -----END CERTIFICATE-----

        """.utf8)
    static let localhostRSAKey = Array(
        """
        -----BEGIN PRIVATE KEY-----
        MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQCr7EcrT4ftrdvD
        7PMlerAuOVEP1KzyGuqGzyOXngBuWeg8eSeZtXdZHcKaFwfzXxHIWpD+Y/lhfo0v
        hskHz+QzkxC0hL44baFZkEKdu1E1PsUx1nAAFoQMHG9DwGMo0gMNtRlivUemfM/X
        bkHApRg5slSMaX6g4FVi8V6YazfgZo9R3w5x6GxH2ktNmR9sw3eAEjbYHqkKSkx3
        YDsrX3qbY9lDighvvmvUR7t6z5xITnmSZDGg2yuGVZQBjQD4+jK6FGCd+/NMfert
        SXLUZQwCuNu66rWThQmwQZx+CTfvaUrOju7zp2jqbM1mjwujnhD4lvlW8FX6rlbc
        T0grc0BHAgMBAAECggEAAKD/o4tJ7zcDi8pNG0sYz65D/qWDuoyuIV5TPjdtKzAR
        HPEz4lsPUbTR5mtZJgtyMhoCSkzID1XsztFUuIHpLVHbnP8fGmIOY058XjbRJow9
        BjfpEewQoxE7I86tCtDRAzN0qA3c4qghfT5p2csif0nZjhB2n4qqHo+Jr4WTnzlO
        cMO73AvPIzWznp2l+i24mFzCzYRS/MXCh1uEg9x+tyUtGSIz4EDam1Jd6RaSkYDn
        k3N8lNism8xvROryoIEVXGBKXZk6d9kuM2jQSknM8LvBiRO5Uey9PdhXZitdycrD
        hg16VgA6C1YHDg7vh7jbHa4++i3pg+M4JXvR69pNuQKBgQDfk8ITsvYloEPlFQEo
        zPxjmd/5IP+TvKFU7qchIYQSErdZKx1pB4Zs0UWov8EOLDR+bJo4RLbDBL3PoKW/
        AaEGq1LEHmRfH31DkLBANTihDjh390nBJvKbN7LyZCbN0Wk0OC47awTJEdmXN3w1
        M2lLKAFBf0Jo1l5YymmtdRvf8wKBgQDE2t7/I8oQZkivgbUPmBAZ0uA8Ed1LUpg7
        +aO2YZPdl+huyqghXW9yxNIcFIU6HnZ19mZn1air5K/cj/5kqn4EHPRM3cVBiHst
        gQ7eRCROK+dYei1Csflw02AX4VCPNb8QCgovV10N6B9a9e0drKkdeppMb5lYa6Kh
        F38qUg/HXQKBgB7r6KOg1LpPeBRu20IxV5bO6VMjZTWhmQ6OEz9Zy1JUlFcYx3CH
        Qeg66U91ddXn9zqk+o9dsYk3VqkopsPMDeFGQKQvL+KYEFMP59B5i+N6fATbhq/Y
        GyWshmtPvq4okExQmNRO8NJ+TYHEgsE44w8p8UKFv0GQpGvTUtpSoBBRAoGBAIY8
        gigVraq1NQeJOYCivwf9Bq+vtumwLuNm/j5WF9DZz8QNKc1mu6LVmDlRvO++6iTS
        m05fIh/lWA7dminnIPuJCwaHjAV+HhEPmqXybZdo1N8+oTKDzocjfLmMCbU+f0Ve
        s0dJGclr6kXKwaCkpsXVXvaUe0sSStny/eJMBzp5AoGAbbWBNGh4pSKvTeh2tDYM
        WC5LFCnaGXiRHpQu9tpRLVbct2ycshTRKqM/Xys6/f13/Je7qostx8eOqRfhhNc6
        S0fvexnsXzhNa/VFgUnzofUbGmHvAzJxHRTfT/YDI26YBo1Sv8U11ahA5I6n9vrz
        n3HvUaCUCiFnFN5UXhHZ90Q=
        -----END PRIVATE KEY-----

        """.utf8)

    /// P-256, for a name that `example` covers too, and for addresses.
    static let exact = TLSCertificate(chain: exactChain, key: exactKey)
    static let exactChain = Array(
        """
        -----BEGIN CERTIFICATE-----
        MIIBrDCCAVOgAwIBAgIUbKaaulnyYpFCL+92GyQ3aWFnk7kwCgYIKoZIzj0EAwIw
        EDEOMAwGA1UEAwwFZXhhY3QwIBcNMjYxMTI2MjEzMjU4WhgPMjEyNjExMDIyMTMy
        NThaMBAxDjAMBgNVBAMMBWV4YWN0MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE
        Z9A6w51tRFIAtei5UiKIb9JQh56XiTBPUZRfPOK4Z5PkgXBLAQNi5Qs32ZgpRLxh
        nnZtxTpOOMT7VrZay0QbjaOBiDCBhTAdBgNVHQ4EFgQUgInqvL9Mtey3Ptq2ahhS
        hIPj8AAwHwYDVR0jBBgwFoAUgInqvL9Mtey3Ptq2ahhShIPj8AAwDwYDVR0TAQH/
        BAUwAwEB/zAyBgNVHREEKzApgg9hcGkuZXhhbXBsZS5jb22HBH8AAAGHECABDbgA
        AAAAAAAAAAAAAAEwCgYIKoZIzj0EAwIDRwAwRAIgfAt8vfZDa1eAclImtawsHzU6
        fVaxSE/UjEp3lvBog4ECIDOr6H5EBmksJmjbRHKhiK49dvQIzcqmkhs2Ju46KFyP
        -----END CERTIFICATE-----

        """.utf8)
    static let exactKey = Array(
        """
        -----BEGIN PRIVATE KEY-----
        MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg+ZUmT/3X49eDDkLH
        UQdXH8j4jLTtxypVLoRIqragcNShRANCAARn0DrDnW1EUgC16LlSIohv0lCHnpeJ
        ME9RlF884rhnk+SBcEsBA2LlCzfZmClEvGGedm3FOk44xPtWtlrLRBuN
        -----END PRIVATE KEY-----

        """.utf8)

    /// Of `clients`, which its subject and names make hard to write down.
    static let client = TLSCertificate(chain: clientChain, key: clientKey)
    static let clientChain = Array(
        """
        -----BEGIN CERTIFICATE-----
        MIIB2TCCAX6gAwIBAgIUSBW+X+7KXNOLat6dFUpvhQiWKyIwCgYIKoZIzj0EAwIw
        FTETMBEGA1UEAwwKY2xpZW50cyBjYTAgFw0yNjExMjYyMTMyNThaGA8yMTI2MTEw
        MjIxMzI1OFowMTEaMBgGA1UECgwRQsOkY2tlciwgIlPDtmhuZSIxEzARBgNVBAMM
        CmNsaWVudCBvbmUwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAAQGNWgpjChzsttS
        XFazbgwPpx3XzOEMJXO98gvJ6ovPbcbdVrpRUy1l5LcR/niro6d+RMcUvuyUKng9
        YD3kAyoYo4GNMIGKMDMGA1UdEQQsMCqCCG9uZS50ZXN0hg5zcGlmZmU6Ly9hL2Is
        Y4EIYUBiLnRlc3SHBMAAAgEwEwYDVR0lBAwwCgYIKwYBBQUHAwIwHQYDVR0OBBYE
        FB5axAjq5/curxeQrU81Qt2OrTnCMB8GA1UdIwQYMBaAFN4GbaagYoUpNLIcOXf1
        ApugXB8CMAoGCCqGSM49BAMCA0kAMEYCIQD2q0iwt6hLQbI1cp/L/OJRThKQ4tSu
        Q02Rto5q2u6VFwIhAJ9boK9kdCbCAXwG9he+Zuzv8aHjhnDEJGAHlHTF8Wn0
        -----END CERTIFICATE-----

        """.utf8)
    static let clientKey = Array(
        """
        -----BEGIN PRIVATE KEY-----
        MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg5q4FjdxLLMVPi9SG
        ZWeaT76vcfwDXotMpmx8rQC2j9ehRANCAAQGNWgpjChzsttSXFazbgwPpx3XzOEM
        JXO98gvJ6ovPbcbdVrpRUy1l5LcR/niro6d+RMcUvuyUKng9YD3kAyoY
        -----END PRIVATE KEY-----

        """.utf8)

    /// Of `clients`, for stapled.test.
    static let stapled = TLSCertificate(chain: stapledChain, key: stapledKey)
    static let stapledChain = Array(
        """
        -----BEGIN CERTIFICATE-----
        MIIBhzCCASygAwIBAgIUSBW+X+7KXNOLat6dFUpvhQiWKyMwCgYIKoZIzj0EAwIw
        FTETMBEGA1UEAwwKY2xpZW50cyBjYTAgFw0yNjExMjYyMTMyNThaGA8yMTI2MTEw
        MjIxMzI1OFowEjEQMA4GA1UEAwwHc3RhcGxlZDBZMBMGByqGSM49AgEGCCqGSM49
        AwEHA0IABJYDAUvTFx9VEy/LMucTr0UM1VIngOqH4Y6skm0iVszqpaz3xxIE1H96
        46bUEsVvBu8LGoQqNIWC6eaz2GHreomjWzBZMBcGA1UdEQQQMA6CDHN0YXBsZWQu
        dGVzdDAdBgNVHQ4EFgQU/etmwbptGfE8sPaGujUAN6wacA8wHwYDVR0jBBgwFoAU
        3gZtpqBihSk0shw5d/UCm6BcHwIwCgYIKoZIzj0EAwIDSQAwRgIhAKocU3u+MxeX
        CbppGH4ekFcM3bhaLOFzLHXzmeQhxVsYAiEAwj6XzRARWjuiyFKqGO4tlCVQ8N2u
        kXgb+XRObezCmPw=
        -----END CERTIFICATE-----

        """.utf8)
    static let stapledKey = Array(
        """
        -----BEGIN PRIVATE KEY-----
        MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgMO4Vpr9ga6UgFaKP
        j9UxYCNLwGvHs38Bv9HNY0dJFuqhRANCAASWAwFL0xcfVRMvyzLnE69FDNVSJ4Dq
        h+GOrJJtIlbM6qWs98cSBNR/euOm1BLFbwbvCxqEKjSFgunms9hh63qJ
        -----END PRIVATE KEY-----

        """.utf8)

    /// P-256, with a common name and no other.
    static let nameless = TLSCertificate(chain: namelessChain, key: namelessKey)
    static let namelessChain = Array(
        """
        -----BEGIN CERTIFICATE-----
        MIIBfzCCASWgAwIBAgIUIrQrMa+qxeaWiBKYJNk0NTz7B+wwCgYIKoZIzj0EAwIw
        FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyNjIxMzQxMloYDzIxMjYxMTAy
        MjEzNDEyWjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjO
        PQMBBwNCAASF+3V5KSxY8Hd2Ixoc/+v9b8nizJ6/UNcs0th+Lc2RutM8JKel9a8z
        IqYQO1YMG8L4dluSuXcSSUE100irNXplo1MwUTAdBgNVHQ4EFgQUSl8XYaPQnifs
        1l05ZdG8B1UAJhUwHwYDVR0jBBgwFoAUSl8XYaPQnifs1l05ZdG8B1UAJhUwDwYD
        VR0TAQH/BAUwAwEB/zAKBggqhkjOPQQDAgNIADBFAiBSEDdWcrc0Cvx3tx9oPGsy
        qEH60EgBcL9bhEli+1Zk4QIhANOyToubXbDSGQzDqHm+86IOLqv6F/Xy5LyJq2l2
        dvA3
        -----END CERTIFICATE-----

        """.utf8)
    static let namelessKey = Array(
        """
        -----BEGIN PRIVATE KEY-----
        MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgZEgtuP2SLuuGHqV4
        1gKDC0I+zFqvF0hTIkkUJ1HFYrqhRANCAASF+3V5KSxY8Hd2Ixoc/+v9b8nizJ6/
        UNcs0th+Lc2RutM8JKel9a8zIqYQO1YMG8L4dluSuXcSSUE100irNXpl
        -----END PRIVATE KEY-----

        """.utf8)

    /// An authority for clients.
    static let clients = Array(
        """
        -----BEGIN CERTIFICATE-----
        MIIBfzCCASagAwIBAgITYwNLoQkhgJc4HPPqou0ziLa1uTAKBggqhkjOPQQDAjAV
        MRMwEQYDVQQDDApjbGllbnRzIGNhMCAXDTI2MTEyNjIxMzI1OFoYDzIxMjYxMTAy
        MjEzMjU4WjAVMRMwEQYDVQQDDApjbGllbnRzIGNhMFkwEwYHKoZIzj0CAQYIKoZI
        zj0DAQcDQgAEA2SsFgMJXMupF6+TnAtuWhs12wK+WnHhAGFrwTHa1S5GJpQZAXjo
        ileL3h7mOL6UCp317knw/Yv+rz+7VcyMqaNTMFEwHQYDVR0OBBYEFN4GbaagYoUp
        NLIcOXf1ApugXB8CMB8GA1UdIwQYMBaAFN4GbaagYoUpNLIcOXf1ApugXB8CMA8G
        A1UdEwEB/wQFMAMBAf8wCgYIKoZIzj0EAwIDRwAwRAIgUv3qkC0fhBfKoTYaSlui
        beCO99brE7za2ESvoggCXLwCIHTrWvYegBCSuhmBycwR9quEPkibE9Mc+qF9TBUe
        309j
        -----END CERTIFICATE-----

        """.utf8)

    // `openssl ocsp -index ... -ndays 36000`, about `stapled`; from 2026-11-26.
    static let goodResponse = decoded(
        "MIICyQoBAKCCAsIwggK+BgkrBgEFBQcwAQEEggKvMIICqzCByKEXMBUxEzARBgNVBAMMCmNsaWVudHMgY2EYDzIw"
            + "MjYxMTI2MjEzMjU4WjB3MHUwTTAJBgUrDgMCGgUABBQgD9mImXvoUAk/Nje4RsyJnnXJ/AQU3gZtpqBihSk0shw5"
            + "d/UCm6BcHwICFEgVvl/uylzTi2renRVKb4UIlisjgAAYDzIwMjYxMTI2MjEzMjU4WqARGA8yMTI1MDYyMDIxMzI1"
            + "OFqhIzAhMB8GCSsGAQUFBzABAgQSBBCRRP5HzHss7fk12hDsiQsDMAoGCCqGSM49BAMCA0cAMEQCIH5syVaWtDNY"
            + "n0oVloL8dI/7RUWrd0baIikYmJ5YgxTLAiBhZPAcGY8MNOBEZaXPtOy5jIZ7+GXhbPPv4IPBo6km5qCCAYcwggGD"
            + "MIIBfzCCASagAwIBAgITYwNLoQkhgJc4HPPqou0ziLa1uTAKBggqhkjOPQQDAjAVMRMwEQYDVQQDDApjbGllbnRz"
            + "IGNhMCAXDTI2MTEyNjIxMzI1OFoYDzIxMjYxMTAyMjEzMjU4WjAVMRMwEQYDVQQDDApjbGllbnRzIGNhMFkwEwYH"
            + "KoZIzj0CAQYIKoZIzj0DAQcDQgAEA2SsFgMJXMupF6+TnAtuWhs12wK+WnHhAGFrwTHa1S5GJpQZAXjoileL3h7m"
            + "OL6UCp317knw/Yv+rz+7VcyMqaNTMFEwHQYDVR0OBBYEFN4GbaagYoUpNLIcOXf1ApugXB8CMB8GA1UdIwQYMBaA"
            + "FN4GbaagYoUpNLIcOXf1ApugXB8CMA8GA1UdEwEB/wQFMAMBAf8wCgYIKoZIzj0EAwIDRwAwRAIgUv3qkC0fhBfK"
            + "oTYaSluibeCO99brE7za2ESvoggCXLwCIHTrWvYegBCSuhmBycwR9quEPkibE9Mc+qF9TBUe309j")
    static let endlessResponse = decoded(
        "MIICtwoBAKCCArAwggKsBgkrBgEFBQcwAQEEggKdMIICmTCBtaEXMBUxEzARBgNVBAMMCmNsaWVudHMgY2EYDzIw"
            + "MjYxMTI2MjEzMjU4WjBkMGIwTTAJBgUrDgMCGgUABBQgD9mImXvoUAk/Nje4RsyJnnXJ/AQU3gZtpqBihSk0shw5"
            + "d/UCm6BcHwICFEgVvl/uylzTi2renRVKb4UIlisjgAAYDzIwMjYxMTI2MjEzMjU4WqEjMCEwHwYJKwYBBQUHMAEC"
            + "BBIEEJFE/kfMeyzt+TXaEOyJCwMwCgYIKoZIzj0EAwIDSAAwRQIgI6qGboK9xzlgXXF5/KVyCIdLL3CG06ZFTL3R"
            + "K5WMna8CIQCzfJFCWW/Zrp9y1hGLjXnIOjojIVqe2xBFxkE1a6r0PqCCAYcwggGDMIIBfzCCASagAwIBAgITYwNL"
            + "oQkhgJc4HPPqou0ziLa1uTAKBggqhkjOPQQDAjAVMRMwEQYDVQQDDApjbGllbnRzIGNhMCAXDTI2MTEyNjIxMzI1"
            + "OFoYDzIxMjYxMTAyMjEzMjU4WjAVMRMwEQYDVQQDDApjbGllbnRzIGNhMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcD"
            + "QgAEA2SsFgMJXMupF6+TnAtuWhs12wK+WnHhAGFrwTHa1S5GJpQZAXjoileL3h7mOL6UCp317knw/Yv+rz+7VcyM"
            + "qaNTMFEwHQYDVR0OBBYEFN4GbaagYoUpNLIcOXf1ApugXB8CMB8GA1UdIwQYMBaAFN4GbaagYoUpNLIcOXf1Apug"
            + "XB8CMA8GA1UdEwEB/wQFMAMBAf8wCgYIKoZIzj0EAwIDRwAwRAIgUv3qkC0fhBfKoTYaSluibeCO99brE7za2ESv"
            + "oggCXLwCIHTrWvYegBCSuhmBycwR9quEPkibE9Mc+qF9TBUe309j")
    static let revokedResponse = decoded(
        "MIIC3QoBAKCCAtYwggLSBgkrBgEFBQcwAQEEggLDMIICvzCB26EXMBUxEzARBgNVBAMMCmNsaWVudHMgY2EYDzIw"
            + "MjYxMTI2MjEzMjU4WjCBiTCBhjBNMAkGBSsOAwIaBQAEFCAP2YiZe+hQCT82N7hGzImedcn8BBTeBm2moGKFKTSy"
            + "HDl39QKboFwfAgIUSBW+X+7KXNOLat6dFUpvhQiWKyOhERgPMjAyNjAxMDEwMDAwMDBaGA8yMDI2MTEyNjIxMzI1"
            + "OFqgERgPMjEyNTA2MjAyMTMyNThaoSMwITAfBgkrBgEFBQcwAQIEEgQQkUT+R8x7LO35NdoQ7IkLAzAKBggqhkjO"
            + "PQQDAgNIADBFAiAJknJ0hD4uE1cVBRXLDS9dU4zG5TgZLfS+PdkThe0rJQIhAMjvpLaEeg0R493LHHjG52nO9SAJ"
            + "fWwxKbgwsX/qczgRoIIBhzCCAYMwggF/MIIBJqADAgECAhNjA0uhCSGAlzgc8+qi7TOItrW5MAoGCCqGSM49BAMC"
            + "MBUxEzARBgNVBAMMCmNsaWVudHMgY2EwIBcNMjYxMTI2MjEzMjU4WhgPMjEyNjExMDIyMTMyNThaMBUxEzARBgNV"
            + "BAMMCmNsaWVudHMgY2EwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAAQDZKwWAwlcy6kXr5OcC25aGzXbAr5aceEA"
            + "YWvBMdrVLkYmlBkBeOiKV4veHuY4vpQKnfXuSfD9i/6vP7tVzIypo1MwUTAdBgNVHQ4EFgQU3gZtpqBihSk0shw5"
            + "d/UCm6BcHwIwHwYDVR0jBBgwFoAU3gZtpqBihSk0shw5d/UCm6BcHwIwDwYDVR0TAQH/BAUwAwEB/zAKBggqhkjO"
            + "PQQDAgNHADBEAiBS/eqQLR+EF8qhNhpKW6Jt4I731usTvNrYRK+iCAJcvAIgdOta9h6AEJK6GYHJzBH2q4Q+SJsT"
            + "0xz6oX1MFR7fT2M=")

    private static func decoded(_ base64: String) -> [UInt8] {
        var (bytes, bits, count): ([UInt8], UInt32, Int) = ([], 0, 0)
        for byte in base64.utf8 where byte != UInt8(ascii: "=") {
            let value: UInt8
            switch byte {
            case UInt8(ascii: "A")...UInt8(ascii: "Z"): value = byte - 65
            case UInt8(ascii: "a")...UInt8(ascii: "z"): value = byte - 71
            case UInt8(ascii: "0")...UInt8(ascii: "9"): value = byte + 4
            default: value = byte == UInt8(ascii: "+") ? 62 : 63
            }
            (bits, count) = (bits << 6 | UInt32(value), count + 6)
            if count >= 8 {
                count -= 8
                bytes.append(UInt8(truncatingIfNeeded: bits >> UInt32(count)))
            }
        }
        return bytes
    }
}
