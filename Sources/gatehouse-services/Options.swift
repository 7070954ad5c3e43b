public import ArgumentParser
import Backbone
import BusService
import Foundation
public import Logging
import ServiceKit

/// What every service takes.
struct CommonOptions: ParsableArguments {
    /// Read before the words are: see `OptionsFile`.
    @Option(help: "A file of these options, one a line: 'port: 9001'. What is said besides it wins.")
    var config: String?

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
            throw StartFailure("--jwks-url must be http://host[:port]/path, found '\(jwksURL)'")
        }
        return origin
    }
}

/// The secret by which services know each other.
struct ServiceTokenOptions: ParsableArguments {
    @Option(help: "A file with the secret by which services know each other, at least 16 characters.")
    var serviceTokenFile: String?

    func token() throws -> ServiceToken {
        guard let serviceTokenFile else { throw StartFailure("--service-token-file is needed") }
        return try ServiceToken(file: URL(filePath: serviceTokenFile))
    }
}

/// Bounds of the bus.
struct BusLimitOptions: ParsableArguments {
    /// How many an owner may ever be given: they are counted when one more comes.
    private static let mostJobsPerOwner = 1_000_000

    @Option(help: "Unfinished jobs that one account may have in one queue.")
    var jobsPerOwner = BusStore.Limits().jobsPerOwner

    var limits: BusStore.Limits { .init(jobsPerOwner: jobsPerOwner) }

    func validate() throws {
        guard (1...Self.mostJobsPerOwner).contains(jobsPerOwner) else {
            throw ValidationError(
                "--jobs-per-owner must be from 1 to \(Self.mostJobsPerOwner), found \(jobsPerOwner)")
        }
    }
}

/// Where the bus is, and the secret that it asks for.
struct BusOptions: ParsableArguments {
    @OptionGroup var serviceToken: ServiceTokenOptions
    @Option(help: "Where the bus is (http only).") var busURL = "http://127.0.0.1:9000"

    func backbone() throws -> any Backbone {
        guard let origin = Origin(url: busURL) else {
            throw StartFailure("--bus-url must be http://host[:port], found '\(busURL)'")
        }
        return BusClient(origin: origin, token: try serviceToken.token())
    }
}

/// The greatest TCP port.
let lastPort = 65_535

func checkPort(_ port: Int, _ option: String) throws {
    guard (0...lastPort).contains(port) else {
        throw ValidationError("\(option) must be from 0 to \(lastPort), found \(port)")
    }
}
