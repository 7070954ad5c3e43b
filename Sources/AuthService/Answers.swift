internal import HTTPTypes
internal import Hummingbird
internal import ServiceKit

struct Registered: Encodable {
    let id: String
    let email: String
}

struct Profile: Encodable {
    let id: String
    let email: String
    let isEmailVerified: Bool
    let displayName: String
    let roles: [String]
    let scope: String
    let session: String
    let createdAt: String

    enum CodingKeys: String, CodingKey {
        case id, email, displayName, roles, scope, session, createdAt
        // Named as OpenID Connect names this claim (Core §5.1).
        case isEmailVerified = "email_verified"
    }
}

struct VerifiedEmail: Encodable {
    let email: String
    let isVerified: Bool

    enum CodingKeys: String, CodingKey {
        case email
        case isVerified = "email_verified"
    }
}

/// One of the caller's sessions.
struct SessionLine: Encodable {
    let id: String
    /// Whether it is the one that asks.
    let current: Bool
    let scope: String
    let address: String
    let agent: String
    let createdAt: String
    let lastUsedAt: String
}

struct SessionList: Encodable {
    let sessions: [SessionLine]
}

/// An account as administrators see it.
struct AccountLine: Encodable {
    let id: String
    let email: String
    let isEmailVerified: Bool
    let displayName: String
    let roles: [String]
    let disabled: Bool
    let createdAt: String

    enum CodingKeys: String, CodingKey {
        case id, email, displayName, roles, disabled, createdAt
        case isEmailVerified = "email_verified"
    }

    init(_ account: Account) {
        id = account.id
        email = account.email
        isEmailVerified = account.isEmailVerified
        displayName = account.displayName
        roles = account.roles
        disabled = account.isDisabled
        createdAt = Timestamp.text(account.createdAt)
    }
}

struct AccountList: Encodable {
    let users: [AccountLine]
    /// Absent on the last page.
    let nextCursor: String?
}

struct KeyLine: Encodable {
    let kid: String
    let state: String
    let createdAt: String
    let activeAt: String?
    let retiredAt: String?
}

struct KeyList: Encodable {
    let keys: [KeyLine]

    init(_ keys: [StoredKey]) {
        self.keys = keys.map { key in
            KeyLine(
                kid: key.published.kid ?? "", state: key.state.rawValue,
                createdAt: Timestamp.text(key.createdAt), activeAt: key.activeAt.map(Timestamp.text),
                retiredAt: key.retiredAt.map(Timestamp.text))
        }
    }
}

/// RFC 6749 §5.1.
struct TokenAnswer: Encodable {
    let accessToken: String
    let tokenType = "Bearer"
    let expiresIn: Int64
    let refreshToken: String
    let scope: String

    enum CodingKeys: String, CodingKey {
        case accessToken = "access_token"
        case tokenType = "token_type"
        case expiresIn = "expires_in"
        case refreshToken = "refresh_token"
        case scope
    }
}

/// RFC 7662 §2.2. Of a token that is not active nothing else is said.
struct Introspection: Encodable {
    var active: Bool
    var scope: String?
    var username: String?
    var isEmailVerified: Bool?
    var tokenType: String?
    var exp: Int64?
    var iat: Int64?
    var nbf: Int64?
    var sub: String?
    var aud: String?
    var iss: String?
    var jti: String?
    var sid: String?
    var roles: [String]?

    enum CodingKeys: String, CodingKey {
        case active, scope, username, exp, iat, nbf, sub, aud, iss, jti, sid, roles
        case isEmailVerified = "email_verified"
        case tokenType = "token_type"
    }
}

/// RFC 8414 §2.
struct Metadata: Encodable {
    let issuer: String
    let tokenEndpoint: String
    let jwksURI: String
    let revocationEndpoint: String
    let introspectionEndpoint: String
    let scopesSupported: [String]
    let grantTypesSupported = ["password", "refresh_token"]
    // There is no authorization endpoint, so there is no response type; the member is required all the same.
    let responseTypesSupported: [String] = []
    let tokenEndpointAuthMethodsSupported = ["none"]
    let revocationEndpointAuthMethodsSupported = ["none"]
    let introspectionEndpointAuthMethodsSupported = ["Bearer"]

    enum CodingKeys: String, CodingKey {
        case issuer
        case tokenEndpoint = "token_endpoint"
        case jwksURI = "jwks_uri"
        case revocationEndpoint = "revocation_endpoint"
        case introspectionEndpoint = "introspection_endpoint"
        case scopesSupported = "scopes_supported"
        case grantTypesSupported = "grant_types_supported"
        case responseTypesSupported = "response_types_supported"
        case tokenEndpointAuthMethodsSupported = "token_endpoint_auth_methods_supported"
        case revocationEndpointAuthMethodsSupported = "revocation_endpoint_auth_methods_supported"
        case introspectionEndpointAuthMethodsSupported = "introspection_endpoint_auth_methods_supported"
    }
}

/// A refusal as RFC 6749 §5.2 words it.
struct TokenRefusal: Error {
    enum Code: String {
        case invalidRequest = "invalid_request"
        case invalidClient = "invalid_client"
        case invalidGrant = "invalid_grant"
        case invalidScope = "invalid_scope"
        case unsupportedGrantType = "unsupported_grant_type"
    }

    let code: Code
    let description: String

    init(_ code: Code, _ description: String) {
        self.code = code
        self.description = description
    }

    private struct Document: Encodable {
        let error: String
        let description: String

        enum CodingKeys: String, CodingKey {
            case error
            case description = "error_description"
        }
    }

    var response: Response {
        var fields = Self.unstored
        if code == .invalidClient { fields[.wwwAuthenticate] = "Basic realm=\"token\"" }
        return Reply.json(
            Document(error: code.rawValue, description: description),
            status: code == .invalidClient ? .unauthorized : .badRequest, fields: fields)
    }

    /// RFC 6749 §5.1: tokens must not lie in a cache.
    static var unstored: HTTPFields {
        var fields: HTTPFields = [.cacheControl: "no-store"]
        if let pragma = HTTPField.Name("Pragma") { fields[pragma] = "no-cache" }
        return fields
    }
}
