/// Written by `Benchmarks/Micro/make-samples`: the key of RFC 7515 A.2 and tokens that it signed.
enum SampleTokens {
    static let issuer = "https://auth.example.com"
    static let audience = "platform-api"
    /// Unix time at which the tokens are good.
    static let now: Int64 = 1_700_000_100

    static let key =
        "{\"keys\":[{\"kty\":\"RSA\",\"kid\":\"a\",\"e\":\"AQAB\",\"n\":\"" + modulus + "\"}]}"

    static let modulus = """
        ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4Ql\
        L-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUs\
        LA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoud\
        F8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ
        """

    /// Of 785 bytes each; the subject of the first is `user-0`.
    static let all = [
        """
        eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCIsImtpZCI6ImEifQ.eyJpc3MiOiJodHRwczovL2F1dGguZXhhbXBsZS5jb20iL\
        CJhdWQiOiJwbGF0Zm9ybS1hcGkiLCJzdWIiOiJ1c2VyLTAiLCJpYXQiOjE3MDAwMDAwMDAsIm5iZiI6MTcwMDAwMDAwMCwiZ\
        XhwIjoxNzAwMDAwOTAwLCJyb2xlcyI6WyJlZGl0b3IiLCJhZG1pbiJdLCJzY29wZSI6ImRvY3VtZW50czpyZWFkIGRvY3VtZ\
        W50czp3cml0ZSBqb2JzOnJlYWQiLCJzZXNzaW9uIjoiNWZlY2ViNjZmZmM4NmYzOGQ5NTI3ODZjNmQ2OTZjNzljMmRiYzIzO\
        WRkNGU5MWI0NjcyOWQ3M2EyN2ZiNTdlOTVmZWNlYjY2ZmZjODZmMzhkIn0.eBlulmjmPV0xuJ7O78tbyWq45sh7wAz-70Zsc\
        XWljLZfPnP39mKiH0qnnh4BP_x1JidUq0KzIVRddn4wxrpUto9iVdzxtJsrvv8T3jq73OZTr6mCOpZsZ9ga38g5edg_V_63H\
        ndFBhEWWNP70vLaJvsUDJj7StmfSsr5VvYu0ZR3XYbDjukrUcODkHjRbkn72oWrN9BuiA3qvJGEkaMz2Rkt2kLSralK7_jYu\
        NETST1-6TzT9s0EbVdN_4EW87rdPWxae5ZeK3ikfNaTh3eYxOPidASrR01YlZiObmnZE_IeR6cKZYzg0ayzKmPPcd6Vpe5Ut\
        YrIK0Yzii7h8PvQAQ
        """,
        """
        eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCIsImtpZCI6ImEifQ.eyJpc3MiOiJodHRwczovL2F1dGguZXhhbXBsZS5jb20iL\
        CJhdWQiOiJwbGF0Zm9ybS1hcGkiLCJzdWIiOiJ1c2VyLTEiLCJpYXQiOjE3MDAwMDAwMDAsIm5iZiI6MTcwMDAwMDAwMCwiZ\
        XhwIjoxNzAwMDAwOTAwLCJyb2xlcyI6WyJlZGl0b3IiLCJhZG1pbiJdLCJzY29wZSI6ImRvY3VtZW50czpyZWFkIGRvY3VtZ\
        W50czp3cml0ZSBqb2JzOnJlYWQiLCJzZXNzaW9uIjoiNmI4NmIyNzNmZjM0ZmNlMTlkNmI4MDRlZmY1YTNmNTc0N2FkYTRlY\
        WEyMmYxZDQ5YzAxZTUyZGRiNzg3NWI0YjZiODZiMjczZmYzNGZjZTE5In0.ntEg5mdLRtNpieJYlUjoIF5g-5MOBk7zmHLGq\
        BYEMRc12yoEi5buOsbQvWUPOCKLF0vPZszKHVTfet23aYoShas8QSKO1MzQA3uwki5jW8Ntb_Oq5psTUa2exl-stbsRVh8nd\
        o1XtlvA7XqXZ6WDVGQU-dEp4n_mZpLUAVhRSY_tLIMrUtXKeKKcUl_bfjS3wbuKCf51BIcp9stW6vOiQR5MT31Y3vZn3jP5P\
        DxTDQlC72uWxCHIj3hwc5ePPmyxEJJft5jB2EyU3Ka053pOQWD3xJCKaJKLZuebqVj29p9QqHyfr_O8B1Oi1827-LUPdN0qa\
        XQ-QRhm4lI9XfAdhQ
        """,
        """
        eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCIsImtpZCI6ImEifQ.eyJpc3MiOiJodHRwczovL2F1dGguZXhhbXBsZS5jb20iL\
        CJhdWQiOiJwbGF0Zm9ybS1hcGkiLCJzdWIiOiJ1c2VyLTIiLCJpYXQiOjE3MDAwMDAwMDAsIm5iZiI6MTcwMDAwMDAwMCwiZ\
        XhwIjoxNzAwMDAwOTAwLCJyb2xlcyI6WyJlZGl0b3IiLCJhZG1pbiJdLCJzY29wZSI6ImRvY3VtZW50czpyZWFkIGRvY3VtZ\
        W50czp3cml0ZSBqb2JzOnJlYWQiLCJzZXNzaW9uIjoiZDQ3MzVlM2EyNjVlMTZlZWUwM2Y1OTcxOGI5YjVkMDMwMTljMDdkO\
        GI2YzUxZjkwZGEzYTY2NmVlYzEzYWIzNWQ0NzM1ZTNhMjY1ZTE2ZWVlIn0.gLRf6OJnjGjVplteNgQrv-qPr_7MeVB23aeih\
        rpsu-4smnm6LzmtAtCdQzbt8o6qDaxxbdE_yeGzVEXFK8Q22R13hlhkCMH9XmxIYxSlcEsZctRX153nzTN8g6DP-PMG1LUaG\
        9AnWDYYbxTuAaoh0KWx_6ajO4YATKKI8DFH9HTLldeP77DYNaJQ3t5Kn1gSTzxiFtZfEJAtSQ65wM8L8u_bPFKz-45Na4T7s\
        TmZntKIppeEYJAhGgW9k7uZh_efk6AhRByRPINwNRFVZe3jMIqHb5V8N2Ou1vOUzXPCKeDVspqKSozHPBb0XT6JLI7ikTOcM\
        iHi9hHTAOHm4fomoA
        """,
        """
        eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCIsImtpZCI6ImEifQ.eyJpc3MiOiJodHRwczovL2F1dGguZXhhbXBsZS5jb20iL\
        CJhdWQiOiJwbGF0Zm9ybS1hcGkiLCJzdWIiOiJ1c2VyLTMiLCJpYXQiOjE3MDAwMDAwMDAsIm5iZiI6MTcwMDAwMDAwMCwiZ\
        XhwIjoxNzAwMDAwOTAwLCJyb2xlcyI6WyJlZGl0b3IiLCJhZG1pbiJdLCJzY29wZSI6ImRvY3VtZW50czpyZWFkIGRvY3VtZ\
        W50czp3cml0ZSBqb2JzOnJlYWQiLCJzZXNzaW9uIjoiNGUwNzQwODU2MmJlZGI4YjYwY2UwNWMxZGVjZmUzYWQxNmI3MjIzM\
        Dk2N2RlMDFmNjQwYjdlNDcyOWI0OWZjZTRlMDc0MDg1NjJiZWRiOGI2In0.UJ3BfIjNH546NW0Vbt12Y74LQ1wMXItQ8sFlu\
        w1WMGmLuSiDOvsR-AtNCJhtcdeCOJxwWSRtfTfu6peLy-Rhj7aCzkCEmsViTTMySkZKTLqYMz9UiKKw8qX1Uxrg6KWuJwNX8\
        qisuUx2PjkWSyL5SzDykg4H5Xe_UAnkOWz6gTrLApVeLEVqml10SHN3GsA0UNPfZHNRGEuHK-x8m3lobpuxGJSshLxqQvi6U\
        7wHZu6rxV9uDubVbKTR2jwDQAbT7Xt096oUZFh7WMmGKpQscQx35X5GelnMTUnXZk-qDdxFwtDbDzSkbnmp5z33Tf_FPhHRj\
        0SlnPvz19Vp-bDf9w
        """,
        """
        eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCIsImtpZCI6ImEifQ.eyJpc3MiOiJodHRwczovL2F1dGguZXhhbXBsZS5jb20iL\
        CJhdWQiOiJwbGF0Zm9ybS1hcGkiLCJzdWIiOiJ1c2VyLTQiLCJpYXQiOjE3MDAwMDAwMDAsIm5iZiI6MTcwMDAwMDAwMCwiZ\
        XhwIjoxNzAwMDAwOTAwLCJyb2xlcyI6WyJlZGl0b3IiLCJhZG1pbiJdLCJzY29wZSI6ImRvY3VtZW50czpyZWFkIGRvY3VtZ\
        W50czp3cml0ZSBqb2JzOnJlYWQiLCJzZXNzaW9uIjoiNGIyMjc3NzdkNGRkMWZjNjFjNmY4ODRmNDg2NDFkMDJiNGQxMjFkM\
        2ZkMzI4Y2IwOGI1NTMxZmNhY2RhYmY4YTRiMjI3Nzc3ZDRkZDFmYzYxIn0.mmCiI9makT8SgwMAnKWYJs0CDLhnPFfBuWNHb\
        e-W0vOCwLHh_9-MSD0le3Iq9ic2V2K9mjLZoztFM7_iMK_NFpes7Olb_8TwEKtDMDwkZv5BJU8HTj4qU5_i5DGzX6ZT32ZUL\
        4yCUhdDm8lWdWnsfizllVIU_7hNN8GkX4JWRI1bkPLGNVoEzmPUDj_rhIvGvFEWp4JN6GsNFk5cZzPavAgG61cU7gt2YWXWm\
        s67sfLfGkmftvwjPxTd1cDSSNYJG-QHKZ9PtjtX9nF-HlUeIPWAh1D67Lnyv-u37jSu_6X-guvbGXRwEulvQa1MdAu_hQGUX\
        L4xXPblAgpZ5OlKJw
        """,
        """
        eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCIsImtpZCI6ImEifQ.eyJpc3MiOiJodHRwczovL2F1dGguZXhhbXBsZS5jb20iL\
        CJhdWQiOiJwbGF0Zm9ybS1hcGkiLCJzdWIiOiJ1c2VyLTUiLCJpYXQiOjE3MDAwMDAwMDAsIm5iZiI6MTcwMDAwMDAwMCwiZ\
        XhwIjoxNzAwMDAwOTAwLCJyb2xlcyI6WyJlZGl0b3IiLCJhZG1pbiJdLCJzY29wZSI6ImRvY3VtZW50czpyZWFkIGRvY3VtZ\
        W50czp3cml0ZSBqb2JzOnJlYWQiLCJzZXNzaW9uIjoiZWYyZDEyN2RlMzdiOTQyYmFhZDA2MTQ1ZTU0YjBjNjE5YTFmMjIzM\
        jdiMmViYmNmYmVjNzhmNTU2NGFmZTM5ZGVmMmQxMjdkZTM3Yjk0MmJhIn0.IzAO0F_EG2NHcN9_9VEcvcqtDUXdBvvAIj5Xb\
        LIcojaHimaN_WKrZdtgK9aWJuVrvoBlAkqf8T2lEFADxzJE9xg2arJqjbfx4kyRJAnKrK8C9jjLUDQiLrnaWn4Mmeuse7GJs\
        dEN7gUpCRiMgMPX0842NEM42GkViXWbQs3YIfGQb0uiCWUJotzdxJbNpdI8OqS5bwxkCveWja8hRSMKktu3jC1CpjGixvfg7\
        4J2vmkRndIFzs79GEh-IRHZccUNTQyDm_pWGj9mJdCSkKFD_8oGDiwspGBsBVPB4o7U_7K-k55-3lsSjoI9fPd3kxXCjdA3P\
        Hcu0UNdiheeaHdzBg
        """,
        """
        eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCIsImtpZCI6ImEifQ.eyJpc3MiOiJodHRwczovL2F1dGguZXhhbXBsZS5jb20iL\
        CJhdWQiOiJwbGF0Zm9ybS1hcGkiLCJzdWIiOiJ1c2VyLTYiLCJpYXQiOjE3MDAwMDAwMDAsIm5iZiI6MTcwMDAwMDAwMCwiZ\
        XhwIjoxNzAwMDAwOTAwLCJyb2xlcyI6WyJlZGl0b3IiLCJhZG1pbiJdLCJzY29wZSI6ImRvY3VtZW50czpyZWFkIGRvY3VtZ\
        W50czp3cml0ZSBqb2JzOnJlYWQiLCJzZXNzaW9uIjoiZTdmNmMwMTE3NzZlOGRiN2NkMzMwYjU0MTc0ZmQ3NmY3ZDAyMTZiN\
        jEyMzg3YTVmZmNmYjgxZTZmMDkxOTY4M2U3ZjZjMDExNzc2ZThkYjdjIn0.Wubx8KNEbpKX2QGvOkPP_6aj3lr60REScwolD\
        3RtjZyyx0utF-h4k5aCep_kDUnEn1ZnNh3jHUcR4FTJMg5Mh76P9hYTPj42rnANRH7Yo9LnaqwJp4JxB6NAdyr75N5JPF3if\
        HmHk48cC2I4Q1tWzMj8S6_tVU5i1BfXzOmCljbK7fI6LN0pnUVchrEhavej9HGJqGrGxl6um-wYKeITGspYHk0DdeS7GBZzV\
        zj13rpowTObErV2BGn4hc2zGEIHQDMXCieI1JSr6kFWHtpk201Lng-_4_VVtQU-iplpbiclEu9fCSs5gVVGVxK7TxGXIYb7i\
        v9XXIcrIo3PoPG2UQ
        """,
        """
        eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCIsImtpZCI6ImEifQ.eyJpc3MiOiJodHRwczovL2F1dGguZXhhbXBsZS5jb20iL\
        CJhdWQiOiJwbGF0Zm9ybS1hcGkiLCJzdWIiOiJ1c2VyLTciLCJpYXQiOjE3MDAwMDAwMDAsIm5iZiI6MTcwMDAwMDAwMCwiZ\
        XhwIjoxNzAwMDAwOTAwLCJyb2xlcyI6WyJlZGl0b3IiLCJhZG1pbiJdLCJzY29wZSI6ImRvY3VtZW50czpyZWFkIGRvY3VtZ\
        W50czp3cml0ZSBqb2JzOnJlYWQiLCJzZXNzaW9uIjoiNzkwMjY5OWJlNDJjOGE4ZTQ2ZmJiYjQ1MDE3MjY1MTdlODZiMjJjN\
        TZhMTg5Zjc2MjVhNmRhNDkwODFiMjQ1MTc5MDI2OTliZTQyYzhhOGU0In0.e8lTCNGjdNjneD0fByhRewq2xnyKu057aBP40\
        EfBHYVIgW3r0XaLeVprhsRJboxyhl4Nxtpk0kv9RTu31gUwN7hWa3j1UWwujdvoc0BpnkynhQF_-APwy4vT3d_YGultwEsj5\
        nV8b1aomaD9ahZYhtk9pPziYx-OtkyYY3orL9-M7TkpP7CUsnQr2tmB9e74fx1faO7uBYoopr1aeBegNPPXROeNNnMqLHWw6\
        DYh-UYsj5oPl5w5WFyPsx_EDus9zoSwQe5JUOTt3A8cpCSflEU2ox5fBQRYFnZ6RhxPXelcDvzaqwhXSIze0RgPwxIIAXLu_\
        JoefVX6taYcnWkRLg
        """,
    ]
}
