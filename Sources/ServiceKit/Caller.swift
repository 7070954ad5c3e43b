internal import HTTPTypes

/// Who is calling, as a verified access token says.
public struct Caller: Equatable, Sendable {
    /// The account.
    public let subject: String
    public let roles: [String]
    /// The session (family of refresh tokens).
    public let session: String
    public let scopes: [String]

    /// An administrator sees and changes what belongs to others.
    public var isAdministrator: Bool { roles.contains("admin") }

    init(_ claims: AccessClaims) {
        subject = claims.sub
        roles = claims.roles
        session = claims.sid
        scopes = claims.scope.split(separator: " ").map(String.init)
    }

    /// Whether the caller may act for `owner`.
    public func mayActFor(_ owner: String) -> Bool { isAdministrator || subject == owner }

    /// Throws 403 `insufficient_scope` (RFC 6750 §3.1) when the token was not given for this.
    public func require(scope: String) throws {
        guard scopes.contains(scope) else {
            throw Problem(
                .forbidden, "insufficient_scope", "The token lacks the scope '\(scope)'.",
                fields: [.wwwAuthenticate: "Bearer error=\"insufficient_scope\", scope=\"\(scope)\""])
        }
    }
}
