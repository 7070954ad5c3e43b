// swift-tools-version: 6.2
// The rooms of the house and the arrows between them. An arrow goes only down or sideways to a room named in its row;
// `swift build --explicit-target-dependency-import-check error` and HouseTests hold the sources to it.
import Foundation
import PackageDescription

/// Set to leave the reference services and their packages out, so that quick loops, sanitizers and fuzzers build in seconds.
let isGatewayOnly = ProcessInfo.processInfo.environment["GATEHOUSE_GATEWAY_ONLY"] == "1"

/// The fuzz targets to build, with commas between them.
let fuzzed = (ProcessInfo.processInfo.environment["GATEHOUSE_FUZZ"] ?? "").split(separator: ",").map(
    String.init)

/// Set for the simulation and for fuzz targets alone: LinuxIO then takes its kernel from memory (see
/// Tests/SimulationTests).
let isSimulation = ProcessInfo.processInfo.environment["GATEHOUSE_SIMULATION"] == "1" || !fuzzed.isEmpty

let houseSettings: [SwiftSetting] =
    [
        .swiftLanguageMode(.v6),
        .strictMemorySafety(),
        .treatAllWarnings(as: .error),
        .enableUpcomingFeature("ExistentialAny"),
        .enableUpcomingFeature("InternalImportsByDefault"),
        .enableUpcomingFeature("MemberImportVisibility"),
        .enableExperimentalFeature("Lifetimes"),
    ] + (isSimulation ? [.define("SIMULATION")] : [])

func here(_ path: String) -> Bool {
    FileManager.default.fileExists(atPath: Context.packageDirectory + "/" + path)
}

/// Where a target stands: among the sources, or beside the benchmarks that count it.
func folder(of name: String) -> String? {
    ["Sources/\(name)", "Benchmarks/Micro/\(name)"].first(where: here)
}

/// A C door: a header of shims over one library, and its link line.
func door(_ name: String, links: [String] = []) -> [Target] {
    guard here("Sources/\(name)") else { return [] }
    return [.target(name: name, linkerSettings: links.map { .linkedLibrary($0) })]
}

func present(_ imports: [String]) -> [Target.Dependency] {
    imports.filter { folder(of: $0) != nil }.map { .target(name: $0) }
}

/// A room of the house, with the rooms that it may import, and its tests.
func room(_ name: String, _ imports: [String] = []) -> [Target] {
    guard let folder = folder(of: name) else { return [] }
    var targets: [Target] = [
        .target(name: name, dependencies: present(imports), path: folder, swiftSettings: houseSettings)
    ]
    if here("Tests/\(name)Tests") {
        targets.append(
            .testTarget(
                name: "\(name)Tests", dependencies: present([name] + imports), swiftSettings: houseSettings))
    }
    return targets
}

func program(_ name: String, _ imports: [String], packages: [Target.Dependency] = []) -> [Target] {
    guard let folder = folder(of: name), fuzzed.isEmpty else { return [] }
    return [
        .executableTarget(
            name: name, dependencies: present(imports) + packages, path: folder, swiftSettings: houseSettings)
    ]
}

var targets: [Target] = []

// Doors
targets += door("CLinux")
targets += door("CVector")
targets += door("COpenSSL", links: ["ssl", "crypto"])
targets += door("CNghttp2", links: ["nghttp2"])
targets += door("CYaml", links: ["yaml"])
targets += door("CJemalloc", links: ["jemalloc"])
// Cellar
targets += room("Memory", ["CVector"])
targets += room("LinuxIO", ["CLinux", "Memory"])
targets += room("Cryptography", ["COpenSSL", "CVector", "Memory"])
// Rules
targets += room("HTTP", ["Memory"])
targets += room("Routing", ["HTTP", "Memory"])
targets += room("RateLimit", ["Memory"])
targets += room("JSON", ["Memory"])
targets += room("JWT", ["Cryptography", "JSON", "Memory"])
targets += room("YAML", ["CYaml"])
targets += room("Config", ["HTTP", "YAML"])
targets += room("Telemetry", ["JSON", "Memory"])
// Codecs
targets += room("HTTP1", ["HTTP", "Memory"])
targets += room("HTTP2", ["CNghttp2", "LinuxIO", "HTTP", "Memory"])
targets += room("TLS", ["COpenSSL", "Cryptography", "Memory"])
// Machine
targets += room("Reactor", ["LinuxIO", "Memory"])
targets += room("Upstreams", ["Reactor", "LinuxIO", "TLS", "HTTP1", "HTTP2", "HTTP", "Telemetry", "Memory"])
targets += room(
    "Proxy",
    [
        "Upstreams", "Reactor", "LinuxIO", "TLS", "HTTP1", "HTTP2", "HTTP", "JWT", "Routing", "RateLimit",
        "Telemetry", "Cryptography", "Memory",
    ])
// Attic and front door
targets += room(
    "GatehouseServer",
    [
        "Proxy", "Upstreams", "Reactor", "LinuxIO", "TLS", "HTTP1", "HTTP2", "HTTP", "JWT", "JSON", "Routing",
        "RateLimit", "Telemetry", "Config", "YAML", "Cryptography", "Memory",
    ])
targets += program(
    "gatehouse", ["GatehouseServer", "CJemalloc"],
    packages: [.product(name: "ArgumentParser", package: "swift-argument-parser")])
// Yard
targets += program("gatehouse-upstream", ["Reactor", "LinuxIO", "HTTP1", "HTTP", "Memory"])
targets += room(
    "MicroParts",
    [
        "Reactor", "HTTP1", "HTTP2", "HTTP", "JWT", "Routing", "RateLimit", "Telemetry", "Cryptography",
        "Memory",
    ])
targets += program("gatehouse-micro", ["MicroParts", "LinuxIO"])
targets += fuzzers([
    "Proxy", "Upstreams", "Reactor", "Routing", "RateLimit", "HTTP2", "HTTP1", "HTTP", "JWT", "JSON",
    "Config",
    "YAML", "Telemetry", "LinuxIO", "Memory",
])
targets += simulation([
    "Proxy", "Upstreams", "Reactor", "LinuxIO", "HTTP2", "HTTP1", "HTTP", "JWT", "Routing", "RateLimit",
    "Telemetry", "Memory",
])
// The house as a whole, read as text
if here("Tests/HouseTests") {
    targets.append(.testTarget(name: "HouseTests", swiftSettings: houseSettings))
}

/// One executable a fuzz target. libFuzzer brings its own `main`, so that no program of ours is built beside them.
func fuzzers(_ imports: [String]) -> [Target] {
    fuzzed.map { name in
        .executableTarget(
            name: "Fuzz\(name)", dependencies: present(imports), path: "Tests/Fuzz/\(name)",
            exclude: here("Tests/Fuzz/\(name)/corpus") ? ["corpus"] : [],
            swiftSettings: houseSettings + [.unsafeFlags(["-parse-as-library"])])
    }
}

/// The worker in a kernel of our own: a program and not a suite, since it is asked for seeds.
func simulation(_ imports: [String]) -> [Target] {
    guard isSimulation, fuzzed.isEmpty else { return [] }
    return [
        .executableTarget(
            name: "simulation", dependencies: present(imports), path: "Tests/SimulationTests",
            exclude: ["planted"], swiftSettings: houseSettings)
    ]
}

var dependencies: [Package.Dependency] = [
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2")
]

// Outbuildings: the reference services. They never import a room of the gateway.
if !isGatewayOnly && here("Sources/gatehouse-services") {
    dependencies += [
        .package(url: "https://github.com/hummingbird-project/hummingbird", from: "2.28.1", traits: []),
        .package(url: "https://github.com/groue/GRDB.swift", from: "7.10.0"),
        .package(url: "https://github.com/apple/swift-crypto", from: "4.5.2"),
        .package(url: "https://github.com/apple/swift-nio", from: "2.101.2"),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
        .package(url: "https://github.com/apple/swift-http-types", from: "1.8.0"),
        .package(url: "https://github.com/swift-server/swift-service-lifecycle", from: "2.13.0"),
        // For tests alone: another implementation signs what the gateway verifies.
        .package(url: "https://github.com/vapor/jwt-kit", from: "5.7.1"),
    ]
    let libraries: [Target.Dependency] = [
        .product(name: "Hummingbird", package: "hummingbird"),
        .product(name: "HummingbirdCore", package: "hummingbird"),
        .product(name: "GRDB", package: "GRDB.swift"),
        .product(name: "GRDBSQLite", package: "GRDB.swift"),
        .product(name: "CryptoExtras", package: "swift-crypto"),
        .product(name: "NIOCore", package: "swift-nio"),
        .product(name: "NIOHTTP1", package: "swift-nio"),
        .product(name: "NIOPosix", package: "swift-nio"),
        .product(name: "Logging", package: "swift-log"),
        .product(name: "HTTPTypes", package: "swift-http-types"),
        .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
        .product(name: "UnixSignals", package: "swift-service-lifecycle"),
    ]
    // Libraries that predate strict memory safety make its warnings noise, so it is off here.
    let settings: [SwiftSetting] = [
        .swiftLanguageMode(.v6), .enableUpcomingFeature("ExistentialAny"),
        .enableUpcomingFeature("InternalImportsByDefault"),
        .enableUpcomingFeature("MemberImportVisibility"),
    ]
    /// A room of the outbuildings.
    /// `tests`: Rooms that its tests may import besides: the bus, which most services are tested with.
    func outbuilding(
        _ name: String, _ imports: [String], tests: [String] = [], isProgram: Bool = false,
        packages: [Target.Dependency] = [], embedded: [String] = []
    ) -> [Target] {
        guard let folder = folder(of: name) else { return [] }
        let needs = present(imports) + libraries + packages
        var made: [Target] = [
            isProgram
                ? .executableTarget(name: name, dependencies: needs, path: folder, swiftSettings: settings)
                : .target(
                    name: name, dependencies: needs, path: folder,
                    resources: embedded.map { .embedInCode($0) }, swiftSettings: settings)
        ]
        if here("Tests/\(name)Tests") {
            made.append(
                .testTarget(
                    name: "\(name)Tests", dependencies: present([name] + imports + tests) + libraries,
                    swiftSettings: settings))
        }
        return made
    }
    targets += door("CSodium", links: ["sodium"])
    targets += door("CCurl", links: ["curl"])
    targets += outbuilding("ServiceKit", ["CSodium"])
    targets += outbuilding("Backbone", ["ServiceKit"], tests: ["BusService"])
    targets += outbuilding("BusService", ["ServiceKit", "Backbone"], embedded: ["openapi.json"])
    targets += outbuilding(
        "AuthService", ["ServiceKit", "Backbone", "CSodium"], tests: ["BusService"],
        embedded: ["openapi.json"])
    // The page is part of the program.
    targets += outbuilding(
        "CoreService", ["ServiceKit", "Backbone"], tests: ["BusService"],
        embedded: ["html", "css", "js"].map { "Page/page.\($0)" } + [
            "Page/session.js", "Page/text.js", "Page/icon.svg", "openapi.json",
        ])
    targets += outbuilding(
        "WorkerService", ["ServiceKit", "Backbone", "CSodium", "CCurl"], tests: ["BusService"],
        embedded: ["openapi.json"])
    targets += outbuilding(
        "SearchService", ["ServiceKit", "Backbone"], tests: ["BusService"], embedded: ["openapi.json"])
    targets += outbuilding(
        "gatehouse-services",
        [
            "ServiceKit", "Backbone", "AuthService", "CoreService", "WorkerService", "SearchService",
            "BusService",
        ],
        isProgram: true, packages: [.product(name: "ArgumentParser", package: "swift-argument-parser")])
    targets += outbuilding("platform-figures", ["ServiceKit", "Backbone", "BusService"], isProgram: true)
    // What jwt-kit signs, the gateway's rooms read.
    if here("Tests/JWTKitTests") {
        targets.append(
            .testTarget(
                name: "JWTKitTests",
                dependencies: present(["JWT", "Cryptography", "Memory"]) + [
                    .product(name: "JWTKit", package: "jwt-kit"),
                    .product(name: "Crypto", package: "swift-crypto"),
                    .product(name: "CryptoExtras", package: "swift-crypto"),
                ],
                swiftSettings: settings))
    }
}

let package = Package(name: "gatehouse", dependencies: dependencies, targets: targets)
