-- Tell whether all jobs on disk are indexed as they are there, or note that they are. ARGV: nothing, or the incarnation in
-- which indexing them began.
if ARGV[1] and ARGV[1] == incarnation_now() then redis.call('SET', P .. 'rebuilt', run_id()) end
return answer({indexed = is_indexed()})
