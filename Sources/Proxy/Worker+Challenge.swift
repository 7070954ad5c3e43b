import JWT
import Memory

extension Worker {
    /// What `WWW-Authenticate` says, into the scratch block for paths. RFC 6750 §3: no error code for who brought no token,
    /// `invalid_token` and why for one that is refused, `insufficient_scope` for a good one that may not do this.
    mutating func makeChallenge(_ id: SlabID) {
        pathBlock.removeAll()
        pathBlock.append("Bearer")
        if let detail = exchanges[id].tokenRefusal {
            pathBlock.append(" error=\"")
            pathBlock.append(detail.errorCode)
            pathBlock.append("\", error_description=\"")
            pathBlock.append(detail.errorDescription)
            pathBlock.append("\"")
        } else if exchanges[id].facts.reason == .tokenInvalid {
            pathBlock.append(" error=\"invalid_request\"")
        } else if exchanges[id].facts.reason == .insufficientScope {
            pathBlock.append(" error=\"insufficient_scope\", scope=\"")
            let (snapshot, route) = (exchanges[id].snapshot, exchanges[id].route)
            apart(&pathBlock, snapshots) { $0.append($1[snapshot].routes[route].scopeText.span) }
            pathBlock.append("\"")
        } else if exchanges[id].facts.reason == .insufficientRole {
            // The one error code that says "not with this token"; there is no attribute for roles.
            pathBlock.append(" error=\"insufficient_scope\", error_description=\"a role is missing\"")
        }
    }
}
