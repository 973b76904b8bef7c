// flux says of each Kubernetes object in a JSON array on standard input what Flux makes of it: by kstatus, or by
// the expressions of a Kustomization's healthCheckExprs that stand as JSON in the first argument.
package main

import (
	"context"
	"encoding/json"
	"log"
	"os"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"github.com/fluxcd/pkg/apis/kustomize"
	"github.com/fluxcd/pkg/runtime/cel"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

type evaluate func(*unstructured.Unstructured) (*status.Result, error)

func main() {
	var objects []*unstructured.Unstructured
	if err := json.NewDecoder(os.Stdin).Decode(&objects); err != nil {
		log.Fatal(err)
	}
	ask := evaluator(os.Args[1:])
	results := make([]string, 0, len(objects))
	for _, object := range objects {
		result, err := ask(object)
		if err != nil { // Flux asks again until its timeout
			result = &status.Result{Status: status.UnknownStatus}
		}
		results = append(results, result.Status.String())
	}
	if err := json.NewEncoder(os.Stdout).Encode(results); err != nil {
		log.Fatal(err)
	}
}

func evaluator(arguments []string) evaluate {
	if len(arguments) == 0 {
		return status.Compute
	}
	var expressions kustomize.HealthCheckExpressions
	if err := json.Unmarshal([]byte(arguments[0]), &expressions); err != nil {
		log.Fatal(err)
	}
	made, err := cel.NewStatusEvaluator(&expressions)
	if err != nil {
		log.Fatal(err)
	}
	return func(object *unstructured.Unstructured) (*status.Result, error) {
		return made.Evaluate(context.Background(), object)
	}
}
