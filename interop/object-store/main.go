// An object store in memory that speaks S3, for the recipe in docs/fencing.md: it compares If-Match and
// If-None-Match and writes under one lock. It has one bucket, "bucket", which keeps all versions.
package main

import (
	"fmt"
	"log"
	"net"
	"net/http"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
)

func main() {
	store := s3mem.New()
	versioned := gofakes3.VersioningConfiguration{Status: gofakes3.VersioningEnabled}
	for _, err := range []error{
		store.CreateBucket("bucket"),
		store.SetVersioningConfiguration("bucket", versioned),
	} {
		if err != nil {
			log.Fatal(err)
		}
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("ready at http://%s/bucket\n", listener.Addr())
	log.Fatal(http.Serve(listener, gofakes3.New(store).Server()))
}
