/// The table of rooms: what each folder under `Sources` and `Benchmarks/Micro` is, and what it may import. A new room is
/// a row here and a row in `Package.swift`; a row that says more than the room needs is a review question, not a convenience.
enum House {
    /// What such a folder is, which decides the rules that hold for it.
    enum Kind: Equatable {
        /// A header of shims over one C library, or over what C alone can say.
        case door
        /// A room of the gateway.
        case room
        /// A room of the reference services: other libraries, other rules, and never a room of the gateway.
        case outbuilding
    }

    struct Row {
        let name: String
        let kind: Kind
        /// Rooms of this house that it may import.
        let imports: Set<String>
        /// C modules that it may import; the doors and the platform's own.
        let doors: Set<String>
        /// Whether it may write `unsafe` and `@safe`.
        let mayBeUnsafe: Bool
    }

    static let rows: [Row] = [
        door("CLinux"), door("CVector"), door("COpenSSL"), door("CNghttp2"), door("CYaml"), door("CJemalloc"),
        // Cellar
        unsafeRoom("Memory", [], doors: ["CVector"]),
        unsafeRoom("LinuxIO", ["Memory"], doors: ["CLinux", "Glibc"]),
        unsafeRoom("Cryptography", ["Memory"], doors: ["COpenSSL", "CVector"]),
        // Rules
        room("HTTP", ["Memory"]),
        room("Routing", ["HTTP", "Memory"]),
        room("RateLimit", ["Memory"]),
        room("JSON", ["Memory"]),
        room("JWT", ["Cryptography", "JSON", "Memory"]),
        unsafeRoom("YAML", [], doors: ["CYaml"]),
        room("Config", ["HTTP", "YAML"]),
        room("Telemetry", ["JSON", "Memory"]),
        // Codecs
        room("HTTP1", ["HTTP", "Memory"]),
        unsafeRoom("HTTP2", ["LinuxIO", "HTTP", "Memory"], doors: ["CNghttp2"]),
        unsafeRoom("TLS", ["Cryptography", "Memory"], doors: ["COpenSSL"]),
        // Machine
        room("Reactor", ["LinuxIO", "Memory"]),
        room("Upstreams", ["Reactor", "LinuxIO", "TLS", "HTTP1", "HTTP2", "HTTP", "Telemetry", "Memory"]),
        room(
            "Proxy",
            [
                "Upstreams", "Reactor", "LinuxIO", "TLS", "HTTP1", "HTTP2", "HTTP", "JWT", "Routing",
                "RateLimit",
                "Telemetry", "Cryptography", "Memory",
            ]),
        // Attic and front door
        room(
            "GatehouseServer",
            [
                "Proxy", "Upstreams", "Reactor", "LinuxIO", "TLS", "HTTP1", "HTTP2", "HTTP", "JWT", "JSON",
                "Routing",
                "RateLimit", "Telemetry", "Config", "YAML", "Cryptography", "Memory",
            ]),
        room("gatehouse", ["GatehouseServer"], doors: ["CJemalloc"]),
        // Yard
        room("gatehouse-upstream", ["Reactor", "LinuxIO", "HTTP1", "HTTP", "Memory"]),
        room(
            "MicroParts",
            [
                "Reactor", "HTTP1", "HTTP2", "HTTP", "JWT", "Routing", "RateLimit", "Telemetry",
                "Cryptography", "Memory",
            ]),
        room("gatehouse-micro", ["MicroParts", "LinuxIO"]),
        // Outbuildings
        door("CSodium"), door("CCurl"),
        outbuilding("ServiceKit", []),
        outbuilding("Backbone", ["ServiceKit"]),
        outbuilding("AuthService", ["ServiceKit", "Backbone"]),
        outbuilding("CoreService", ["ServiceKit", "Backbone"]),
        outbuilding("WorkerService", ["ServiceKit", "Backbone"]),
        outbuilding("SearchService", ["ServiceKit", "Backbone"]),
        outbuilding("BusService", ["ServiceKit", "Backbone"]),
        outbuilding(
            "gatehouse-services",
            [
                "ServiceKit", "Backbone", "AuthService", "CoreService", "WorkerService", "SearchService",
                "BusService",
            ]),
        outbuilding("platform-figures", ["ServiceKit", "Backbone", "BusService"]),
    ]

    /// C modules, which only the rooms whose row names them may import.
    static let doorModules: Set<String> = [
        "CLinux", "CVector", "COpenSSL", "CNghttp2", "CYaml", "CJemalloc", "Glibc", "Foundation",
        "FoundationEssentials",
    ]

    /// Words that name nothing: a type or file called so has not been thought about yet.
    static let bannedWords: Set<String> = [
        "Manager", "Managers", "Helper", "Helpers", "Util", "Utils", "Context", "Plugin", "Middleware",
        "Backend",
    ]

    /// Words that one room alone may use, with that room. To a user the same thing is called a service.
    static let wordsOfOneRoom: [String: String] = ["Cluster": "Upstreams"]

    static let lineLimit = 600

    /// Written in two pieces so that this file does not hold what it forbids.
    static let leftovers = ["TO" + "DO", "FIX" + "ME", "XX" + "X"]
    static let machinePaths = ["/wo" + "rk/", "/tmp/" + "wt", "/home" + "/", "/ro" + "ot/"]

    static func row(_ name: String) -> Row? { rows.first { $0.name == name } }

    private static func door(_ name: String) -> Row {
        Row(name: name, kind: .door, imports: [], doors: [], mayBeUnsafe: false)
    }
    private static func room(_ name: String, _ imports: Set<String>, doors: Set<String> = []) -> Row {
        Row(name: name, kind: .room, imports: imports, doors: doors, mayBeUnsafe: false)
    }
    private static func unsafeRoom(_ name: String, _ imports: Set<String>, doors: Set<String> = []) -> Row {
        Row(name: name, kind: .room, imports: imports, doors: doors, mayBeUnsafe: true)
    }
    private static func outbuilding(_ name: String, _ imports: Set<String>) -> Row {
        Row(name: name, kind: .outbuilding, imports: imports, doors: [], mayBeUnsafe: true)
    }
}
