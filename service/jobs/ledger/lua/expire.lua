-- Take back leases that were not renewed. ARGV: most at a time, most attempts, pause.
local at, ended = now(), {}
for _, name in ipairs(redis.call('ZRANGEBYSCORE', P .. 'leases', '-inf', '(' .. at)) do
  local job, shard = name:match('^(%S+) (%d+)$')
  local rec = load_shard(job, shard)
  if #ended == tonumber(ARGV[1]) then break end
  if is_newer(job) then
    -- its leases are left to the Mintage that gave them
  elseif rec.s == 'L' then
    table.insert(ended, {job = job, shard = tonumber(shard), attempt = rec.a})
    local why = 'LEASE_LOST: the worker ' .. (rec.w or '?') .. ' sent no heartbeat'
    end_failed(job, shard, rec, why, tonumber(ARGV[2]), tonumber(ARGV[3]))
  else
    redis.call('ZREM', P .. 'leases', name)
  end
end
return answer({ended = ended})
