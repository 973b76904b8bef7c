// Judges requests by policies: reads {policies, requests, keyPolicy} from stdin, writes a verdict for each.
// Its argument is the folder that has node_modules.
import { createRequire } from 'node:module'
import { readFileSync } from 'node:fs'

const { runSimulation } = createRequire(`${process.argv[2]}/package.json`)('@cloud-copilot/iam-simulate')
const { policies, requests, keyPolicy } = JSON.parse(readFileSync(0, 'utf8'))
const account = '000000000000'

async function verdict({ policy, action, resource, context }) {
  const found = await runSimulation(
    {
      request: {
        principal: `arn:aws:iam::${account}:role/judged`,
        action,
        resource: { resource, accountId: account },
        contextVariables: context
      },
      identityPolicies: [{ name: 'policy', policy: policies[policy] }],
      serviceControlPolicies: [],
      resourceControlPolicies: [],
      ...(action.startsWith('kms:') ? { resourcePolicy: keyPolicy } : {}),
      ...(action === 'sts:AssumeRole' ? { resourcePolicy: trust } : {})
    },
    {}
  )
  if (found.errors) return `error: ${JSON.stringify(found.errors)}`
  return found.result.analysis.result
}

// a role that trusts the account: whether it may be assumed is then the caller's policy to say
const trust = {
  Version: '2012-10-17',
  Statement: [{ Effect: 'Allow', Principal: { AWS: `arn:aws:iam::${account}:root` }, Action: 'sts:AssumeRole' }]
}

const verdicts = []
for (const request of requests) verdicts.push(await verdict(request))
process.stdout.write(JSON.stringify(verdicts))
