import Config
import Cryptography
import JWT

extension Config.IssuerSettings {
    /// The algorithms as the rooms that verify know them.
    var signatureAlgorithms: SignatureAlgorithms {
        var found: SignatureAlgorithms = []
        for algorithm in SignatureAlgorithm.allCases
        where algorithms.contains(where: { $0.rawValue == "\(algorithm.name)" }) {
            found.insert(SignatureAlgorithms(algorithm))
        }
        return found
    }

    /// What a verifier is made with.
    /// `countedClaims` are kept of each token for limits, and go into no field: they stand behind those that do.
    func tokenSettings(countedClaims: [String] = []) throws(IssuerSettingsError) -> JWT.IssuerSettings {
        try JWT.IssuerSettings(
            issuer: issuer, audiences: audiences, algorithms: signatureAlgorithms,
            leewaySeconds: leewayNanoseconds / 1_000_000_000, requiredClaims: requiredClaims,
            maxTokenBytes: maxTokenBytes, tokenType: tokenType == .any ? .any : .accessToken,
            forwards: forwardedClaims.map { .init(fieldName: $0.field, claimName: $0.claim) }
                + countedClaims.map { .init(fieldName: "", claimName: $0) },
            cacheEntries: cachedTokens, negativeSeconds: negativeCacheNanoseconds / 1_000_000_000)
    }
}
