-- Tell whether a quota forbids a job. ARGV: client, images, most jobs, most images, most bytes (0: any).
release_stale_reservations()
return answer(over_quota(ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4], ARGV[5]) or {ok = true})
