import ArgumentParser
import AuthService
import Backbone
import BusService
import CoreService
import Foundation
import SearchService
import ServiceKit
import WorkerService

/// The reference services, each by itself or all in one process.
struct GatehouseServices: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "gatehouse-services", abstract: "The reference services behind the gateway.",
        subcommands: [
            Auth.self, Core.self, Worker.self, Search.self, Bus.self, All.self, Grant.self, Parked.self,
            Dead.self,
        ])
}

struct Auth: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Accounts, sessions and tokens.")

    @OptionGroup var common: CommonOptions
    @OptionGroup var bus: BusOptions
    @Option(help: "0 takes any free port.") var port = 9_001

    func validate() throws { try checkPort(port, "--port") }

    func run() async throws {
        let log = common.log("auth")
        let service = try await AuthService(
            AuthSettings(
                directory: common.directory, issuer: common.issuer, audience: common.audience,
                serviceToken: try bus.serviceToken.token()),
            backbone: try bus.backbone(), log: log)
        var runner = Runner(log: log)
        runner.add(service.parts, host: common.host, port: port, log: log)
        try await runner.run()
    }
}

struct Core: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Documents.")

    @OptionGroup var common: CommonOptions
    @OptionGroup var keySet: KeySetOptions
    @OptionGroup var bus: BusOptions
    @Option(help: "0 takes any free port.") var port = 9_002

    func validate() throws { try checkPort(port, "--port") }

    func run() async throws {
        let log = common.log("core")
        let service = try CoreService(
            directory: common.directory, verifier: common.verifier(keySet: try keySet.origin(), path: ""),
            backbone: try bus.backbone(), log: log)
        var runner = Runner(log: log)
        runner.add(service.parts, host: common.host, port: port, log: log)
        try await runner.run()
    }
}

struct Worker: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Jobs: mails, webhooks, work on texts.")

    @OptionGroup var common: CommonOptions
    @OptionGroup var keySet: KeySetOptions
    @OptionGroup var bus: BusOptions
    @OptionGroup var worker: WorkerOptions
    @Option(help: "0 takes any free port.") var port = 9_003

    func validate() throws { try checkPort(port, "--port") }

    func run() async throws {
        let log = common.log("worker")
        let service = try WorkerService(
            worker.settings(directory: common.directory), backbone: bus.backbone(),
            verifier: common.verifier(keySet: try keySet.origin(), path: ""), log: log)
        var runner = Runner(log: log)
        runner.add(service.parts, host: common.host, port: port, log: log)
        try await runner.run()
    }
}

struct Search: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Full-text search.")

    @OptionGroup var common: CommonOptions
    @OptionGroup var keySet: KeySetOptions
    @OptionGroup var bus: BusOptions
    @Option(help: "0 takes any free port.") var port = 9_004

    func validate() throws { try checkPort(port, "--port") }

    func run() async throws {
        let log = common.log("search")
        let service = try SearchService(
            directory: common.directory, verifier: common.verifier(keySet: try keySet.origin(), path: ""),
            backbone: try bus.backbone(), log: log)
        var runner = Runner(log: log)
        runner.add(service.parts, host: common.host, port: port, log: log)
        try await runner.run()
    }
}

struct Bus: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Jobs, events and their schemas, for the other services.",
        discussion:
            "It belongs on the loopback or a private network: whoever has the service token may do all.")

    @OptionGroup var common: CommonOptions
    @OptionGroup var serviceToken: ServiceTokenOptions
    @OptionGroup var busLimits: BusLimitOptions
    @Option(help: "0 takes any free port.") var port = 9_000

    func validate() throws { try checkPort(port, "--port") }

    func run() async throws {
        let log = common.log("bus")
        let service = try BusService(
            directory: common.directory, serviceToken: try serviceToken.token(), limits: busLimits.limits,
            log: log)
        var runner = Runner(log: log)
        runner.add(service.parts, host: common.host, port: port, log: log)
        try await runner.run()
    }
}

struct All: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "All services in one process, for development and the demonstration.",
        discussion: "They speak to each other over HTTP as they would apart.")

    @OptionGroup var common: CommonOptions
    @OptionGroup var serviceToken: ServiceTokenOptions
    @OptionGroup var busLimits: BusLimitOptions
    @OptionGroup var workerOptions: WorkerOptions
    @Option(help: "0 takes any free port.") var busPort = 9_000
    @Option(help: "0 takes any free port.") var authPort = 9_001
    @Option(help: "0 takes any free port.") var corePort = 9_002
    @Option(help: "0 takes any free port.") var workerPort = 9_003
    @Option(help: "0 takes any free port.") var searchPort = 9_004

    func validate() throws {
        try checkPort(busPort, "--bus-port")
        try checkPort(authPort, "--auth-port")
        try checkPort(corePort, "--core-port")
        try checkPort(workerPort, "--worker-port")
        try checkPort(searchPort, "--search-port")
    }

    func run() async throws {
        let directory = common.directory
        let host = common.host
        // Nobody else has to know the secret here, unless a file says so.
        guard
            let token = try serviceToken.serviceTokenFile == nil
                ? ServiceToken.random() : serviceToken.token()
        else { throw StartFailure("no random bytes") }
        // Told when they listen: with port 0 nobody knows before.
        let busOrigin = Origin(nil)
        let authOrigin = Origin(nil)
        let keySetPath = "/.well-known/jwks.json"

        let bus = try BusService(
            directory: directory, serviceToken: token, limits: busLimits.limits, log: common.log("bus"))
        let backbone = BusClient(origin: busOrigin, token: token)
        let auth = try await AuthService(
            AuthSettings(
                directory: directory, issuer: common.issuer, audience: common.audience, serviceToken: token),
            backbone: backbone, log: common.log("auth"))
        let search = try SearchService(
            directory: directory, verifier: common.verifier(keySet: authOrigin, path: keySetPath),
            backbone: backbone, log: common.log("search"))
        let worker = try WorkerService(
            workerOptions.settings(directory: directory), backbone: backbone,
            verifier: common.verifier(keySet: authOrigin, path: keySetPath), log: common.log("worker"))
        let core = try CoreService(
            directory: directory, verifier: common.verifier(keySet: authOrigin, path: keySetPath),
            backbone: backbone, log: common.log("core"))

        // Stopped in the opposite order: everybody before auth and the bus.
        let reachable = Self.reachable(host)
        var runner = Runner(log: common.log("all"))
        runner.add(bus.parts, host: host, port: busPort, log: common.log("bus")) { port in
            busOrigin.target = .init(host: reachable, port: port)
        }
        runner.add(auth.parts, host: host, port: authPort, log: common.log("auth")) { port in
            authOrigin.target = .init(host: reachable, port: port)
        }
        runner.add(search.parts, host: host, port: searchPort, log: common.log("search"))
        runner.add(worker.parts, host: host, port: workerPort, log: common.log("worker"))
        runner.add(core.parts, host: host, port: corePort, log: common.log("core"))
        try await runner.run()
    }

    /// The address at which a service that listens on `host` can be reached from here.
    private static func reachable(_ host: String) -> String {
        switch host {
        case "0.0.0.0": "127.0.0.1"
        case "::": "::1"
        default: host
        }
    }
}

struct Grant: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Gives an account one more role; its next token has it.")

    @Option(help: "The data directory of the auth service.") var data = "data"
    @Option(help: "The account.") var email: String
    @Option(help: "The role.") var role = "admin"

    func validate() throws {
        guard !role.isEmpty, role.allSatisfy({ $0.isLetter || $0.isNumber || $0 == "-" }) else {
            throw ValidationError("--role must be letters, digits and hyphens")
        }
    }

    func run() throws {
        let directory = URL(filePath: data, directoryHint: .isDirectory)
        guard try AuthService.grant(role: role, email: email, directory: directory) else {
            throw StartFailure("there is no account \(email)")
        }
        print("\(email) has the role \(role) from its next token on")
    }
}
