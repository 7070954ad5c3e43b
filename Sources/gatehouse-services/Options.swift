public import ArgumentParser
import Foundation
public import Logging
import ServiceKit

/// What every service takes.
struct CommonOptions: ParsableArguments {
    @Option(help: "The address to listen on.")
    var host = "127.0.0.1"

    @Option(help: "The directory of the SQLite files; made when missing.")
    var data = "data"

    @Option(help: "The issuer of the access tokens (their 'iss').")
    var issuer = "http://127.0.0.1:9001"

    @Option(help: "The audience of the access tokens (their 'aud').")
    var audience = "platform-api"

    @Option(help: "trace, debug, info, notice, warning, error or critical.")
    var logLevel: Logger.Level = .info

    var directory: URL { URL(filePath: data, directoryHint: .isDirectory) }

    func log(_ service: String) -> Logger { ServiceLog.logger(service: service, level: logLevel) }

    /// A verifier that reads its keys from `keySet`, an address that may be told later.
    func verifier(keySet: Origin, path: String) -> TokenVerifier {
        let client = OutboundClient(timeout: .seconds(2), answerLimitBytes: 65_536)
        return TokenVerifier(issuer: issuer, audience: audience) {
            let answer = try await client.send("GET", keySet, path)
            guard answer.status == 200 else { throw KeySetFailure(status: answer.status) }
            return answer.body
        }
    }
}

struct KeySetFailure: Error {
    let status: Int
}

extension Logger.Level: @retroactive ExpressibleByArgument {}

/// Where the tokens' keys are.
struct KeySetOptions: ParsableArguments {
    @Option(help: "Where the auth service publishes its key set (http only).")
    var jwksURL = "http://127.0.0.1:9001/.well-known/jwks.json"

    func origin() throws -> Origin {
        guard let origin = Origin(url: jwksURL) else {
            throw ValidationError("--jwks-url must be http://host[:port]/path, found '\(jwksURL)'")
        }
        return origin
    }
}

/// The secret between core and search.
struct ServiceTokenOptions: ParsableArguments {
    @Option(help: "A file with the secret by which services know each other, at least 16 characters.")
    var serviceTokenFile: String?

    /// `nil` when no file is named.
    func tokenIfAny() throws -> ServiceToken? { serviceTokenFile == nil ? nil : try token() }

    func token() throws -> ServiceToken {
        guard let serviceTokenFile else { throw ValidationError("--service-token-file is needed") }
        guard let token = ServiceToken(file: URL(filePath: serviceTokenFile)) else {
            throw ValidationError(
                "\(serviceTokenFile) cannot be read, or does not hold 16 to 1024 printable characters")
        }
        return token
    }
}

/// The greatest TCP port.
let lastPort = 65_535

func checkPort(_ port: Int, _ option: String) throws {
    guard (0...lastPort).contains(port) else {
        throw ValidationError("\(option) must be from 0 to \(lastPort), found \(port)")
    }
}
