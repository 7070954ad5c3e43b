internal import Foundation

/// The ticks of a schedule.
enum Timetable: Equatable, Sendable {
    /// Every so many seconds, counted from when the schedule was made.
    case interval(seconds: Int64)
    case cron(CronExpression, TimeZone)

    /// More often is a load, less often than a year a mistake.
    static let intervalsSeconds: ClosedRange<Int64> = 10...31_622_400
    /// Expressions are refused that fit no date in 28 years; a zone that skips a day cannot move a tick further than this.
    private static let searchedDays = 30 * 366

    /// The first tick after a time, both in Unix seconds.
    /// `anchor`: When the schedule was made.
    func next(after time: Int64, anchor: Int64) -> Int64? {
        switch self {
        case .interval(let seconds):
            guard time >= anchor else { return anchor + seconds }
            return anchor + ((time - anchor) / seconds + 1) * seconds
        case .cron(let expression, let zone):
            return Self.next(expression, zone, after: time)
        }
    }

    private static func next(_ expression: CronExpression, _ zone: TimeZone, after time: Int64) -> Int64? {
        // The day before as well: a day's skipped times may fall into the next one.
        let first = (time + offset(zone, time)) / 86_400 - 1
        for day in first..<first + Int64(searchedDays) {
            guard expression.fits(date: CivilTime(epochSeconds: day * 86_400)) else { continue }
            if let tick = ticks(expression, zone, day: day).first(where: { $0 > time }) { return tick }
        }
        return nil
    }

    /// Seconds to be added to UTC at that moment.
    private static func offset(_ zone: TimeZone, _ time: Int64) -> Int64 {
        Int64(zone.secondsFromGMT(for: Date(timeIntervalSince1970: Double(time))))
    }

    /// The ticks of one local date, in order.
    /// `day`: Days since 1970-01-01.
    private static func ticks(_ expression: CronExpression, _ zone: TimeZone, day: Int64) -> [Int64] {
        // Offsets go from -12 to +14 hours: what happens to the clock on this date happens within these bounds.
        let bounds = (day * 86_400 - 15 * 3_600)...(day * 86_400 + 39 * 3_600)
        let before = offset(zone, bounds.lowerBound)
        guard before != offset(zone, bounds.upperBound) else {
            return expression.timesOfDay.map { day * 86_400 + Int64($0) * 60 - before }
        }
        return ticksOfChange(expression, zone, day: day, bounds: bounds)
    }

    /// The clock is put forward or back around this date: each minute that passes is looked at.
    private static func ticksOfChange(
        _ expression: CronExpression, _ zone: TimeZone, day: Int64, bounds: ClosedRange<Int64>
    ) -> [Int64] {
        var ticks: [Int64] = []
        var seen: Set<Int64> = []
        var previous: Int64?
        for time in stride(from: bounds.lowerBound, through: bounds.upperBound, by: 60) {
            let local = time + offset(zone, time)
            // Times that the clock skips are due at the first moment after them, once, and times that it shows twice are due
            // the first time; unless the hour is open: then the schedule goes by how time passes.
            var isDue = false
            if let previous, local > previous + 60, !expression.isHourOpen {
                isDue = stride(from: previous + 60, to: local, by: 60).contains { skipped in
                    fits(expression, skipped, day: day)
                }
            }
            if fits(expression, local, day: day), expression.isHourOpen || seen.insert(local).inserted {
                isDue = true
            }
            if isDue { ticks.append(time) }
            previous = local
        }
        return ticks
    }

    private static func fits(_ expression: CronExpression, _ local: Int64, day: Int64) -> Bool {
        guard local >= day * 86_400, local < (day + 1) * 86_400 else { return false }
        let minute = Int(local - day * 86_400) / 60
        return expression.fits(hour: minute / 60, minute: minute % 60)
    }
}
