internal import YAML

/// A configuration file's text -> the model, or everything that is wrong with it.
public enum ConfigLoader {
    /// `file` is the name that errors carry, and its folder is what relative paths are relative to. Nothing is opened.
    public static func load(text: [UInt8], file: String) -> Result<Configuration, Diagnostics> {
        let reading = Reading(of: text)
        var builder = ModelBuilder(file: file)
        for problem in reading.problems { builder.report(at: problem.place, problem.message) }
        let configuration = reading.root.map { builder.configuration($0, file: file) }
        guard let configuration, builder.errors.isEmpty else {
            return .failure(Diagnostics(file: file, errors: builder.errors))
        }
        return .success(configuration)
    }
}

extension ModelBuilder {
    fileprivate mutating func configuration(_ root: Node, file: String) -> Configuration {
        let map = keys(
            of: root, "a configuration",
            built: [
                "version", "workers", "memory", "listeners", "client_address", "request_id", "tracing",
                "paths",
                "log", "admin",
                "limits_of_http", "auth", "limits", "limiter", "resilience", "services", "defaults", "routes",
            ])
        checkVersion(required("version", of: map))
        let requestID = requestID(map["request_id"])
        let http = httpLimits(map["limits_of_http"])
        let traceParent = word(
            keys(of: map["tracing"], "tracing", built: ["traceparent"])["traceparent"], "traceparent",
            default: TraceParentHandling.propagate,
            ["propagate": .propagate, "generate": .generate, "drop": .drop])
        let mergesSlashes = boolean(
            keys(of: map["paths"], "paths", built: ["merge_slashes"])["merge_slashes"], "merge_slashes",
            default: true)
        let clientAddress = clientAddress(map["client_address"])
        let listeners = listeners(required("listeners", of: map), clientAddress)
        let admin = admin(map["admin"])
        checkAddresses(listeners, admin)
        let issuers = issuers(map["auth"], requestIDHeader: requestID.header)
        let limits = limits(map["limits"])
        let profiles = profiles(map["resilience"])
        let services = services(required("services", of: map), profiles)
        let log = keys(of: map["log"], "log", built: ["access", "errors"])
        let surroundings = RouteSurroundings(
            listeners: listeners.names,
            redirects: Set(listeners.settings.indices.filter { listeners.settings[$0].securePort != nil }),
            asking: Set(
                listeners.settings.indices.filter {
                    listeners.settings[$0].tls?.clientCertificates.authorityFile != nil
                }),
            issuers: issuers.names, limits: limits.names,
            services: services.names,
            ownFields: Set(
                ([requestID.header] + issuers.settings.flatMap { $0.forwardedClaims.map(\.field) })
                    .map(Self.comparable)),
            requestIDHeader: Self.comparable(requestID.header),
            limitOwners: limits.owners, timeouts: services.timeouts, bodyBytes: http.bodyBytes,
            mergesSlashes: mergesSlashes)
        return Configuration(
            file: file,
            workers: workers(map["workers"]),
            memoryBudget: memoryBudget(map["memory"]),
            listeners: listeners.settings,
            clientAddress: clientAddress,
            requestID: requestID,
            traceParent: traceParent,
            mergesSlashes: mergesSlashes,
            accessLog: accessLog(log["access"]),
            errorLog: errorLog(log["errors"]),
            adminListen: admin,
            http: http,
            issuers: issuers.settings,
            limits: limits.settings,
            limiterKeys: integer(
                keys(of: map["limiter"], "limiter", built: ["keys"])["keys"], "keys", default: 1_000_000,
                1_000...100_000_000),
            services: services.settings,
            routes: routes(required("routes", of: map), defaults: map["defaults"], surroundings))
    }

    private mutating func checkVersion(_ node: Node?) {
        guard let node else { return }
        guard case .scalar("1", _) = node.content else {
            reportKind(of: node, "version must be 1")
            return
        }
    }

    private mutating func workers(_ node: Node?) -> WorkerCount {
        guard let node else { return .auto }
        if case .scalar("auto", _) = node.content { return .auto }
        guard case .scalar(let text, _) = node.content, let count = Quantity.integer(text),
            ConfigurationBounds.workers.contains(count)
        else {
            let range = ConfigurationBounds.workers
            reportKind(of: node, "workers must be auto or from \(range.lowerBound) to \(range.upperBound)")
            return .auto
        }
        return .count(count)
    }

    private mutating func memoryBudget(_ node: Node?) -> MemoryBudget {
        guard let budget = keys(of: node, "memory", built: ["budget"])["budget"] else {
            return .threeQuarters
        }
        return .bytes(
            size(
                budget, "budget", default: Quantity.gibibyte,
                (16 * Quantity.mebibyte)...(4096 * Quantity.gibibyte)))
    }

    private mutating func clientAddress(_ node: Node?) -> ClientAddressSettings {
        let map = keys(of: node, "client_address", built: ["trusted_proxies", "ipv6_prefix"])
        var proxies: [AddressPrefix] = []
        for text in texts(map["trusted_proxies"], "trusted_proxies", 0...ConfigurationBounds.trustedProxies) {
            if let prefix = AddressParser.prefix(text.value) {
                proxies.append(prefix)
            } else {
                report(
                    at: text.place,
                    "a network must be address/length with no bit set beyond the length, such as 10.0.0.0/8, found \(text.value.shown)"
                )
            }
        }
        return ClientAddressSettings(
            trustedProxies: proxies,
            ipv6PrefixBits: integer(map["ipv6_prefix"], "ipv6_prefix", default: 64, 16...128))
    }

    private mutating func requestID(_ node: Node?) -> RequestIDSettings {
        let map = keys(of: node, "request_id", built: ["header", "accept_from", "echo"])
        let header = text(map["header"], "header")
        if let header { checkOwnField(header) }
        return RequestIDSettings(
            header: header?.value ?? "X-Request-ID",
            acceptFrom: word(
                map["accept_from"], "accept_from", default: .trustedProxies,
                ["any": .any, "trusted_proxies": .trustedProxies, "nobody": .nobody]),
            isEchoed: boolean(map["echo"], "echo", default: true))
    }

    private mutating func accessLog(_ node: Node?) -> AccessLogSettings {
        let map = keys(of: node, "access", built: ["to", "format", "redact", "queue", "on_overflow"])
        word(map["format"], "format", default: (), ["json": ()])
        word(map["on_overflow"], "on_overflow", default: (), ["drop-and-count": ()])
        var redacted = ["authorization", "cookie"]
        if let node = map["redact"] {
            redacted = []
            for field in texts(node, "redact", 0...ConfigurationBounds.redactedFields) {
                checkFieldName(field)
                redacted.append(field.value.lowercased())
            }
        }
        return AccessLogSettings(
            destination: accessDestination(map["to"]),
            redactedFields: redacted,
            queueBytes: size(
                map["queue"], "queue", default: 8 * Quantity.mebibyte,
                (64 * Quantity.kibibyte)...Quantity.gibibyte))
    }

    private mutating func accessDestination(_ node: Node?) -> LogDestination {
        guard let node else { return .stdout }
        switch node.content {
        case .scalar("stdout", _): return .stdout
        case .scalar("none", _): return .none
        // A word alone is a slip more often than a file.
        case .scalar(let text, _)
        where text.utf8.contains(where: { $0 == UInt8(ascii: "/") || $0 == UInt8(ascii: ".") }):
            guard let path = path(node, "to") else { return .none }
            return .file(path)
        case .scalar(let text, _):
            let suggestion = suggestion(for: text, among: ["stdout", "none"])
            reportKind(of: node, "to must be stdout, none or a file such as ./access.log", suggestion)
        case .sequence, .mapping, .refused:
            reportKind(of: node, "to must be stdout, none or a file such as ./access.log")
        }
        return .none
    }

    private mutating func errorLog(_ node: Node?) -> ErrorLogSettings {
        let map = keys(of: node, "errors", built: ["to", "level"])
        return ErrorLogSettings(
            destination: word(map["to"], "to", default: .stderr, ["stderr": .stderr]),
            level: word(
                map["level"], "level", default: .info,
                ["debug": .debug, "info": .info, "warning": .warning, "error": .error]))
    }

    private mutating func admin(_ node: Node?) -> Located<BindAddress>? {
        let map = keys(of: node, "admin", built: ["listen"], notBuilt: ["socket"])
        guard let text = text(map["listen"], "listen") else { return nil }
        return bindAddress(text, "listen")
    }

    private mutating func httpLimits(_ node: Node?) -> HTTPLimitSettings {
        let map = keys(
            of: node, "limits_of_http",
            built: [
                "request_line", "head", "fields", "body", "head_timeout", "body_idle_timeout", "idle_timeout",
                "min_body_rate", "streams", "resets", "websocket_idle_timeout",
            ])
        let head = size(map["head"], "head", default: 32 * Quantity.kibibyte, ConfigurationBounds.headBytes)
        let line = size(
            map["request_line"], "request_line", default: 8 * Quantity.kibibyte, ConfigurationBounds.headBytes
        )
        if line > head, let place = (map["request_line"] ?? map["head"])?.place {
            report(
                at: place,
                "request_line (\(Quantity.sizeText(line))) must not exceed head (\(Quantity.sizeText(head))), which holds it"
            )
        }
        let waits = (10 * Quantity.millisecond)...(24 * Quantity.hour)
        return HTTPLimitSettings(
            requestLineBytes: line,
            headBytes: head,
            fieldCount: integer(map["fields"], "fields", default: 100, ConfigurationBounds.fields),
            bodyBytes: size(
                map["body"], "body", default: 10 * Quantity.mebibyte, ConfigurationBounds.bodyBytes,
                allowsNone: true),
            headTimeoutNanoseconds: duration(
                map["head_timeout"], "head_timeout", default: 10 * Quantity.second, waits),
            bodyIdleTimeoutNanoseconds: duration(
                map["body_idle_timeout"], "body_idle_timeout", default: 30 * Quantity.second, waits),
            minimumBodyRate: minimumRate(map["min_body_rate"]),
            idleTimeoutNanoseconds: duration(
                map["idle_timeout"], "idle_timeout", default: 60 * Quantity.second, waits),
            webSocketIdleTimeoutNanoseconds: duration(
                map["websocket_idle_timeout"], "websocket_idle_timeout", default: 300 * Quantity.second, waits
            ),
            streamCount: integer(map["streams"], "streams", default: 100, 1...4096),
            resets: rate(
                map["resets"], "resets", default: Rate(count: 100, windowNanoseconds: Quantity.second)))
    }

    private mutating func minimumRate(_ node: Node?) -> MinimumRate {
        let fallback = 10 * Quantity.second
        if case .scalar("none", _) = node?.content {
            return MinimumRate(bytesPerWindow: 0, windowNanoseconds: fallback)
        }
        let map = keys(of: node, "min_body_rate", built: ["rate", "window"])
        let rate = byteRate(map["rate"], "rate", default: 256, ConfigurationBounds.bodyRate)
        let window = duration(
            map["window"], "window", default: fallback, (100 * Quantity.millisecond)...Quantity.hour)
        // At least a byte, or a window that is short for its rate would ask for nothing.
        let bytes = max(rate * (window / Quantity.millisecond) / 1000, 1)
        return MinimumRate(bytesPerWindow: bytes, windowNanoseconds: window)
    }
}
