import Config
import JWT
import LinuxIO
import Memory
import Proxy

/// What `gatehouse jwt check` says: one token, judged as requests are.
public struct TokenReport {
    public let text: String
    /// Whether a client with this token would pass.
    public let isGood: Bool

    /// What keeps the question from being asked.
    public struct Failure: Error { public let text: String }

    /// Judges `token` now, by the configuration in `file`: on `route`, or by each `auth` where no
    /// route is named; one that accepts it is enough then.
    public init(
        token: [UInt8], configurationFile file: String, route: String?
    ) throws(Failure) {
        let nowSeconds = Int64(Clock.wall() / 1_000_000_000)
        let configuration: Configuration
        switch ConfigurationFile.load(file) {
        case .failure(let errors): throw Failure(text: errors.description)
        case .success(let loaded): configuration = loaded
        }
        var asked: [(issuer: Int, route: RouteSettings?)] = configuration.issuers.indices.map { ($0, nil) }
        if let route {
            guard let found = configuration.routes.first(where: { $0.name.value == route }) else {
                throw Failure(text: "\(file) has no route '\(route)'")
            }
            guard case .issuer(let issuer) = found.authentication else {
                text = "route '\(route)' has auth: none and asks for no token\n"
                isGood = true
                return
            }
            asked = [(issuer, found)]
        }
        guard !asked.isEmpty else { throw Failure(text: "\(file) has no auth") }
        var (text, isGood) = ("", false)
        for (issuer, route) in asked {
            let (said, isAccepted) = try TokenReport.ask(
                TokenReport.credential(token), configuration, issuer, route, nowSeconds)
            text += (text.isEmpty ? "" : "\n") + said
            isGood = isGood || isAccepted
        }
        self.text = text
        self.isGood = isGood
    }

    /// Without white space around it, which is a shell's, and without the scheme.
    private static func credential(_ bytes: [UInt8]) -> [UInt8] {
        func isSpace(_ byte: UInt8) -> Bool { byte == 0x20 || (0x09...0x0D).contains(byte) }
        var token = bytes[...]
        while let first = token.first, isSpace(first) { token.removeFirst() }
        while let last = token.last, isSpace(last) { token.removeLast() }
        if token.count > 7, Array(token.prefix(7)).rawSpan.equalsIgnoringCase("bearer ") {
            token.removeFirst(7)
        }
        return Array(token)
    }

    private static func verifier(_ configuration: Configuration, _ index: Int) throws(Failure)
        -> TokenVerifier
    {
        let issuer = configuration.issuers[index]
        let keys: [UInt8]
        let path: String
        switch issuer.keys {
        case .file(let file): path = file.value
        case .url(let fetched):
            // What a running gateway has fetched last.
            guard let file = fetched.cacheFile?.value else {
                throw Failure(
                    text:
                        "the keys come from \(fetched.url.value.text), and without cache_file they are not kept here"
                )
            }
            path = file
        }
        do { keys = try Files.read(path, limit: Blueprint.fileBytes) } catch {
            throw Failure(text: "cannot read key set '\(path)': \(error.text)")
        }
        let keySet: KeySet
        do { keySet = try KeySet(file: keys.rawSpan, algorithms: issuer.signatureAlgorithms) } catch {
            throw Failure(text: "'\(path)': \(error.description)")
        }
        do {
            return TokenVerifier(
                settings: try issuer.tokenSettings(), keySet: keySet, hash: SipHash(key0: 1, key1: 2),
                grantNames: Grants(of: index, configuration.routes).names)
        } catch { throw Failure(text: error.description) }
    }

    private static func ask(
        _ token: [UInt8], _ configuration: Configuration, _ issuer: Int, _ route: RouteSettings?, _ now: Int64
    ) throws(Failure) -> (String, Bool) {
        var verifier = try verifier(configuration, issuer)
        var text = "auth '\(configuration.issuers[issuer].name.value)'"
        if let route { text += ", route '\(route.name.value)'" }
        text += ", at \(now)\n"
        guard !token.isEmpty else {
            return (text + "\n" + ending(.tokenMissing, detail: nil, scopes: []), false)
        }
        let requirement =
            route.map { Grants(of: issuer, configuration.routes).requirement($0.requirement) }
            ?? GrantRequirement()
        let explanation = TokenExplanation(of: token.rawSpan, by: &verifier, nowSeconds: now, requirement)
        for finding in explanation.findings { text += line(finding) }
        text += "\n"
        // What a request gets comes from what a request asks, and not from the explanation.
        switch verifier.verify(token.rawSpan, nowSeconds: now) {
        case .refused(let refusal):
            return (text + ending(Refusal(refusal), detail: refusal, scopes: []), false)
        case .accepted(let entry, _):
            guard let refusal = Refusal(verifier.judge(requirement, of: entry, token.rawSpan)) else {
                return (text + "a client with this token passes\n", true)
            }
            return (text + ending(refusal, detail: nil, scopes: route?.requirement.scopes ?? []), false)
        }
    }

    private static func line(_ finding: TokenExplanation.Finding) -> String {
        switch finding.outcome {
        case .met: "ok     \(finding.subject): \(finding.received)\n"
        case .unchecked: "-      \(finding.subject): not checked, \(finding.received)\n"
        case .refused(let refusal):
            "WRONG  \(finding.subject): \(refusal.errorDescription)\n"
                + "         expected: \(finding.expected)\n         received: \(finding.received)\n"
        case .lacks(let answer):
            "WRONG  \(finding.subject): \(Refusal(answer).map { "\($0.title)" } ?? "")\n"
                + "         expected: \(finding.expected)\n         received: \(finding.received)\n"
        }
    }

    private static func ending(_ refusal: Refusal, detail: TokenRefusal?, scopes: [String]) -> String {
        var text = "a client with this token gets \(refusal.status) \(refusal.name)"
        if let detail { text += " (\(detail.name): \(detail.errorDescription))" }
        if refusal == .insufficientScope { text += ", scope=\"\(scopes.joined(separator: " "))\"" }
        return text + "\n"
    }
}
